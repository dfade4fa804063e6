"""The style of the house where a machine can see it: short functions, and imports that go downwards only."""

from __future__ import annotations

import ast
import importlib
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import clsuite

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "clsuite"
LONGEST = 40

FLOORS = (
    ("errors", "interpreters", "lazy", "private_api", "regular_files", "sessions"),
    ("config",),
    ("metrics",),
    ("records",),
    ("data",),
    ("scenarios",),
    ("backbones",),
    ("peft",),
    ("plugin",),
    ("learner",),
    ("probes",),
    ("avalanche", "stream"),
    ("trackers",),
    ("conformance", "runner", "report"),
    ("pretrain", "tuning", "board"),
    ("api",),
    ("cli",),
)
"""From the ground up; what stands on one floor knows nothing of its neighbors there."""
HEIGHT = {name: height for height, floor in enumerate(FLOORS) for name in floor}
"""Height of each package."""


def long_functions(text: str) -> Iterator[tuple[str, int]]:
    """Functions of too many lines, from ``def`` to the last; those of the docstring do not count."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            written = isinstance(first, ast.Expr) and ast.get_docstring(node) is not None
            documented = (first.end_lineno or 0) - first.lineno + 1 if written else 0
            lines = (node.end_lineno or 0) - node.lineno + 1 - documented
            if lines > LONGEST:
                yield node.name, lines


def imported(text: str) -> Iterator[tuple[int, str]]:
    """Line and name of each of our packages that a module needs; what only type checkers import it does not need."""
    nodes: list[ast.AST] = [ast.parse(text)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            nodes.extend(node.orelse)
            continue
        nodes.extend(ast.iter_child_nodes(node))
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if name.startswith("clsuite."):
                yield node.lineno, name.split(".")[1]  # type: ignore[attr-defined]


def upward_imports(package: str, text: str) -> list[str]:
    """Imports from a floor that is not below."""
    return [
        f"line {line}: {package} imports {name}"
        for line, name in imported(text)
        if name != package and HEIGHT[name] >= HEIGHT[package]
    ]


def sources() -> list[Path]:
    return [path for folder in (PACKAGE, ROOT / "plugins") for path in sorted(folder.rglob("*.py"))]


@pytest.mark.slow
def test_functions_are_short() -> None:
    assert len(sources()) > 200
    found = []
    for path in sources():
        long = long_functions(path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(ROOT)}: {name} has {lines} lines" for name, lines in long]
    assert found == []


@pytest.mark.slow
def test_imports_go_downwards() -> None:
    found = []
    for path in sorted(PACKAGE.glob("*/**/*.py")):
        package = path.relative_to(PACKAGE).parts[0]
        complaints = upward_imports(package, path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(ROOT)}: {complaint}" for complaint in complaints]
    assert found == []


def test_plugins_know_neither_each_other_nor_what_stands_above_the_learner() -> None:
    for path in sorted((ROOT / "plugins").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert "clsuite_plugins" not in text, path.name
        assert all(HEIGHT[name] <= HEIGHT["learner"] for _, name in imported(text)), path.name


def test_every_package_has_a_floor() -> None:
    assert Path(clsuite.__file__).parent == PACKAGE
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(HEIGHT) - set(FLOORS[0])


def test_every_package_is_part_of_the_wheel() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    packages = {".".join(path.parent.relative_to(ROOT).parts) for path in PACKAGE.rglob("*.py")}
    assert packages <= {*settings["packages"]}
    listed = {name for name in settings["packages"] if name.split(".")[0] == "clsuite"}
    assert all((ROOT / name.replace(".", "/")).is_dir() for name in listed)


def test_what_breaks_the_rules_is_seen() -> None:
    body = "    x = 1\n" * LONGEST
    assert list(long_functions("def f():\n" + body)) == [("f", LONGEST + 1)]
    assert list(long_functions('def f():\n    """Say.\n\n    More."""\n' + body[:-10])) == []
    upward = "def f():\n    from clsuite.cli.main import main\n"
    assert upward_imports("data", upward) == ["line 2: data imports cli"]
    assert upward_imports("peft", "if TYPE_CHECKING:\n    from clsuite.learner.learner import Learner\n") == []


HOMES = ("clsuite.plugin", "clsuite.plugin.helpers", "clsuite.peft", "clsuite.metrics")
"""Where the author of a method finds what there is."""


def hidden_imports(text: str) -> list[str]:
    """What a module imports from our packages past their public homes, or by names that these do not list."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.startswith("clsuite")]
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("clsuite"):
            listed = importlib.import_module(str(node.module)).__all__ if node.module in HOMES else ()
            found += [f"{node.module}.{alias.name}" for alias in node.names if alias.name not in listed]
    return found


def test_methods_import_from_public_modules_only() -> None:
    methods = sorted((ROOT / "plugins").glob("*.py"))
    assert len(methods) > 30
    assert [f"{path.name}: {name}" for path in methods for name in hidden_imports(path.read_text("utf-8"))] == []
    templates = sorted((PACKAGE / "cli" / "templates").glob("*.py.txt"))
    ours = [path for path in templates if not path.name.endswith("_test.py.txt")]
    assert len(ours) >= 5
    assert [f"{path.name}: {name}" for path in ours for name in hidden_imports(_as_python(path))] == []
    assert hidden_imports("from clsuite.learner.loss import classification_loss\nimport clsuite.data") != []
    assert hidden_imports("from clsuite.plugin import Learner, nothing") == ["clsuite.plugin.nothing"]


def _as_python(template: Path) -> str:
    return template.read_text(encoding="utf-8").replace("$cls", "Method").replace("$name", "method")


def test_what_public_modules_list_is_there_and_documented() -> None:
    for home in HOMES[:3]:
        module = importlib.import_module(home)
        for name in module.__all__:
            assert getattr(module, name) is not None, f"{home}.{name}"
        with pytest.raises(AttributeError, match="nothing"):
            _ = module.nothing
