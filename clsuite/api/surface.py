"""The public API, which plugins and scripts may rely on, read from the source and rendered for people and tests.

``python -m clsuite.api.surface``, run in a clone, writes the list of names and signatures that a test checks (so that
changes show in the diff) and the reference with the docstrings.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from clsuite.records.atomic import atomic_path

PUBLIC: Mapping[str, tuple[str, ...]] = {
    "clsuite": (
        "run", "bench", "tune", "compare", "RunResult", "TuneResult", "BenchOptions", "TuneOptions", "BenchmarkSpec",
        "MethodSpec", "load_model", "TrainedModel", "read_record", "UserError",
    ),
    "clsuite.runner.options": ("RunOptions", "RunKeywords", "CallKeywords", "BenchKeywords"),
    "clsuite.tuning.options": ("TuneKeywords",),
    "clsuite.plugin": (
        "Plugin", "RehearsalPlugin", "Traits", "API_VERSION", "check_range", "fill_defaults", "Learner", "Step", "Head",
        "GrowingHead", "TrainingPlan", "TrainingSpec", "OptimizerSpec", "classification_loss", "tune_on_exemplars",
        "select_parameters", "warm_up_head", "Batch", "ExemplarBuffer", "exemplar_capacity", "herding_ranks",
        "ImageTable", "Scenario", "Task", "EvalSplit",
    ),
    "clsuite.plugin.helpers": (
        "BatchLoader", "ClassTexts", "FeatureStore", "PretrainedState", "TakenRows", "WeightSwap", "check_trained",
        "clip_of", "compute_features", "entropic_transport", "full_precision", "mean_of", "Moment", "multi_step",
        "row_positions", "set_weights", "statistics_of", "task_vector", "tensor_bytes", "top_share", "weights_of",
        "AlignmentSettings", "ClassGaussians", "align_head", "check_alignable", "head_values", "nearness",
        "reversed_nearness", "plain_logits", "scaled_cosine", "task_normalized", "TaskIdentity",
        "token_covariances", "cosface_loss", "self_contrast", "refuse_unscaled", "distillation", "one_against_rest",
        "random_tokens", "read_rows", "reference_images", "reference_texts", "AnalyticPlugin", "RidgePlugin",
        "RandomLayerPlugin",
        "DiscriminantPlugin", "Discriminant", "FeatureSums", "Regression", "RandomProjection", "FourierFeatures",
        "solve_ridge",
    ),
    "clsuite.scenarios": ("from_avalanche", "to_avalanche", "ScenarioBuilder", "make_scenario"),
    "clsuite.data": ("load_dataset", "ImageData"),
    "clsuite.probes": ("Probe", "Reading"),
    "clsuite.peft": (
        "PET", "build_pet", "attach_pet", "only", "transformer_blocks", "block_list", "choose_blocks",
        "first_values", "FrozenQuery", "RoutedByQuery", "Route", "MixedRoute", "LoRA", "Prompt", "GivenPrefix",
        "TaskModules", "attach_text_pet", "TextContext",
    ),
    "clsuite.records": ("RunRecord",),
    "clsuite.metrics": ("Counts", "compute_all", "METRICS"),
}  # fmt: skip
"""What is public, by the module that it is imported from."""

HIDDEN_BASES = {"LearnerTools": "clsuite.learner.tools"}
"""Classes that are a part of a public one, and where they are: their members are its members."""

INTERNAL = {
    "Learner": "__init__ scenario store start leave_backbone begin_task begin_round end_round end_task "
    "end_stream leave_task restore transfer_batch_to_device on_after_batch_transfer training_step test_step "
    "configure_optimizers on_before_optimizer_step on_train_end",
    "TrainedModel": "__init__",
    "RunResult": "folders",
    "Head": "begin",
    "RunRecord": "make_key recomputed_key results_version",
}
"""Members of public classes that the framework alone calls."""

Definition = ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign


@dataclass(frozen=True)
class Entry:
    """One public name: `name` is the name of a class or function, or ``Class.member`` for members."""

    module: str
    name: str
    signature: str
    doc: str

    @property
    def is_member(self) -> bool:
        """Whether it belongs to a class."""
        return "." in self.name


def surface() -> list[Entry]:
    """Every public name with its signature and docstring; none of them is imported."""
    return [entry for module, names in PUBLIC.items() for name in names for entry in _entries(module, name)]


def render_signatures() -> str:
    """One line for each public name."""
    lines = [f"{entry.module} {entry.signature}" for entry in surface()]
    return "\n".join(lines) + "\n"


def render_reference() -> str:
    """The reference as a page: a section for each module."""
    parts = [
        "# API reference",
        "Written from the docstrings by `python -m clsuite.api.surface`. [README.md](README.md) says how a "
        "plugin lives; what stands here keeps its signature within a version of the plugin API.",
    ]
    module = ""
    for entry in surface():
        if entry.module != module:
            module = entry.module
            parts.append(f"## `{module}`")
        if entry.is_member and not entry.doc:
            continue  # a field: its class's docstring says what it is
        heading = "####" if entry.is_member else "###"
        parts.append(f"{heading} `{entry.name}`\n\n```python\n{entry.signature}\n```")
        if entry.doc:
            parts.append(_as_markdown(entry.doc))
    return "\n\n".join(parts) + "\n"


def _as_markdown(doc: str) -> str:
    """A Google docstring as Markdown: sections become lists, double backticks single ones."""
    lines: list[str] = []
    inside = False
    for line in doc.splitlines():
        if line in ("Args:", "Returns:", "Raises:", "Attributes:", "Yields:"):
            lines.append(f"*{line}*\n")
            inside = True
        elif inside and line.startswith("    ") and not line.startswith("     "):
            lines.append(f"- {_term(line.strip())}")
        elif inside and line.startswith("     "):
            lines.append(f"  {line.strip()}")
        else:
            inside = inside and not line.strip()
            lines.append(line)
    return "\n".join(lines).replace("``", "`").strip()


def _term(line: str) -> str:
    name, colon, text = line.partition(": ")
    return f"`{name}`: {text}" if colon and name.replace("_", "").isalnum() else line


def _entries(module: str, name: str) -> Iterator[Entry]:
    node = _find(module, name)
    if isinstance(node, ast.FunctionDef):
        yield Entry(module, name, _function(node), _doc(node))
    elif isinstance(node, ast.ClassDef):
        bases = ", ".join(base for one in node.bases for base in _known_bases(ast.unparse(one)))
        yield Entry(module, name, f"class {name}({bases})" if bases else f"class {name}", _doc(node))
        internal = [f"{name}.{member}" for member in INTERNAL.get(name, "").split()]
        for member in [*node.body, *_of_hidden_bases(node)]:
            yield from (entry for entry in _members(module, name, member) if entry.name not in internal)
    else:
        yield Entry(module, name, ast.unparse(node), "")


def _known_bases(base: str) -> list[str]:
    """A base, or those of one that is a part of a public class."""
    if base not in HIDDEN_BASES:
        return [base]
    found = _find(HIDDEN_BASES[base], base)
    assert isinstance(found, ast.ClassDef)
    return [ast.unparse(one) for one in found.bases]


def _of_hidden_bases(node: ast.ClassDef) -> Iterator[ast.stmt]:
    """The members of a class that it has from bases of ours that nobody imports, but for constructors."""
    for base in map(ast.unparse, node.bases):
        if base in HIDDEN_BASES:
            found = _find(HIDDEN_BASES[base], base)
            assert isinstance(found, ast.ClassDef)
            yield from (one for one in found.body if getattr(one, "name", "") != "__init__")


def _members(module: str, owner: str, node: ast.stmt) -> Iterator[Entry]:
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id[0] != "_":
        yield Entry(module, f"{owner}.{node.target.id}", f"{owner}.{ast.unparse(node)}", _description(node.value))
    if isinstance(node, ast.FunctionDef) and (node.name == "__init__" or node.name[0] != "_"):
        yield Entry(module, f"{owner}.{node.name}", _function(node, owner), _doc(node))


def _description(value: ast.expr | None) -> str:
    """The description of a field."""
    words = value.keywords if isinstance(value, ast.Call) else []
    descriptions = [ast.literal_eval(word.value) for word in words if word.arg == "description"]
    return f"{descriptions[0][0].upper()}{descriptions[0][1:]}." if descriptions else ""


def _function(node: ast.FunctionDef, owner: str = "") -> str:
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    name = f"{owner}.{node.name}" if owner else node.name
    returns = ast.unparse(node.returns) if node.returns else ""
    if decorators & {"property", "cached_property"}:
        return f"{name}: {returns}"
    word = "classmethod " if "classmethod" in decorators else "staticmethod " if "staticmethod" in decorators else ""
    return f"{word}{name}({ast.unparse(node.args)})" + (f" -> {returns}" if returns else "")


def _doc(node: ast.FunctionDef | ast.ClassDef) -> str:
    return ast.get_docstring(node) or ""


def _find(module: str, name: str) -> Definition:
    """The definition behind a public name, through the imports that lead to it.

    Raises:
        LookupError: If there is none.
    """
    tree = ast.parse(_path(module).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
        if isinstance(node, ast.Assign | ast.AnnAssign) and name in _targets(node):
            return ast.AnnAssign(node.target, node.annotation, None, 1) if isinstance(node, ast.AnnAssign) else node
    for inner in ast.walk(tree):
        if isinstance(inner, ast.ImportFrom) and inner.module and any(alias.name == name for alias in inner.names):
            return _find(inner.module, name)
    raise LookupError(f"'{module}' has no '{name}'")


def _targets(node: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _path(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


def main(clone: Path) -> None:
    """Write both files into a clone of the repository."""
    for name, render in FILES.items():
        with atomic_path(clone / name) as temporary:
            temporary.write_text(render(), encoding="utf-8")


FILES = {"tests/api/public_api.txt": render_signatures, "plugins/API.md": render_reference}

if __name__ == "__main__":
    main(Path.cwd())
