"""Avalanche's strategies as methods, read from their source: neither Avalanche nor torch is imported.

``avalanche:EWC(ewc_lambda=10)`` is a strategy of Avalanche's training module, and ``FILE.py:make_strategy`` a function
that makes one. `clsuite.avalanche` runs them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_args

from clsuite.config.error_text import shown
from clsuite.errors import UserError, did_you_mean
from clsuite.plugin.introspection import PluginInfo, PluginSource, first_line
from clsuite.plugin.signature import MISSING, Parameter, own_arguments
from clsuite.plugin.source_hash import HashedSource, Home, find_module, hashed_source
from clsuite.plugin.strategy_facts import BROKEN, FACTS, GIVEN, SIZES, UNFIT, UNKNOWN, Alone, Facts
from clsuite.plugin.syntax_hash import parsed
from clsuite.plugin.traits import Scores, Traits
from clsuite.records.canonical import sha256_of
from clsuite.regular_files import read_text
from clsuite.scenarios.catalog import KINDS, SINGLE_PASS, SPECIAL_CASES

PREFIX = "avalanche:"
DISTRIBUTION = "avalanche-lib"
MODULE = "clsuite.avalanche.method"
"""The module with a plugin class for each strategy, under the strategy's name."""
TRAINING = "avalanche.training.supervised"
TEMPLATE = "Template"
"""End of the names of the classes from which strategies derive."""
HOOKS = ("before_task_training", "on_task_start", "predict", "stored_bytes", "state_dict", "load_state_dict")
"""Hooks of the plugin that runs a strategy."""
SINGLE = "Avalanche's strategies may read the images of a task again"
BY_CLASS = ("class_incremental", "task_incremental", "long_tailed")
"""Kinds of streams with new classes in each task."""
ONE_PER_CLASS = "it needs new classes in each task"


@dataclass(frozen=True)
class StrategySource(PluginSource):
    """The declarations of a method that is a strategy of Avalanche's.

    Attributes:
        version: Avalanche's version, which is part of the hash.
    """

    version: str = ""

    @cached_property
    def hashed(self) -> HashedSource:
        """Hash of Avalanche's version, and of the file and its imports if the strategy is made by a user's function."""
        if self.home is None:
            return HashedSource(sha256_of([DISTRIBUTION, self.version]), {}, frozenset())
        found = hashed_source(parsed(self.text), self.home)
        return replace(found, sha256=sha256_of([DISTRIBUTION, self.version, found.sha256]))


def is_strategy(name: str) -> bool:
    """Whether a method is given as a strategy: ``avalanche:EWC``."""
    return name.startswith(PREFIX)


def is_target(target: str) -> bool:
    """Whether a plugin's target is a strategy's plugin class."""
    return target.partition(":")[0] == MODULE


def find_strategy(name: str) -> PluginInfo:
    """Find a strategy by the name of its class.

    Args:
        name: ``avalanche:CLASS``.

    Raises:
        UserError: If there is none, or it cannot be a method.
    """
    wanted = name.removeprefix(PREFIX)
    if problem := unfit().get(wanted):
        raise UserError(f"Avalanche's strategy '{wanted}' cannot be a method: {problem}", field=name)
    if wanted not in _classes():
        raise did_you_mean("strategy of Avalanche", wanted, _classes().keys() - unfit().keys())
    return describe_target(f"{MODULE}:{wanted}")


def strategies() -> list[PluginInfo]:
    """All strategies that can be methods, by name."""
    return [find_strategy(PREFIX + name) for name in sorted(_classes().keys() - unfit().keys())]


def unfit() -> dict[str, str]:
    """Why strategies of the installed Avalanche cannot be methods, by the names of their classes."""
    now = _version()
    return UNFIT | {name: f"{reason} (Avalanche {of})" for (name, of), reason in BROKEN.items() if of == now}


def describe_target(target: str) -> PluginInfo:
    """The plugin of a strategy, by its target."""
    name = target.partition(":")[2]
    node, constructor = _classes()[name]
    now, facts = _version(), FACTS.get(name, UNKNOWN)
    source = StrategySource(
        summary=first_line(ast.get_docstring(node)),
        parameters=tuple(_parameters(constructor)),
        traits=traits_of(facts),
        hooks=frozenset(HOOKS),
        text="",
        alone=Alone(needs=facts.needs),
        version=now,
    )
    return PluginInfo(PREFIX + name, target, f"{DISTRIBUTION} {now}", source)


def traits_of(facts: Facts) -> Traits:
    """The traits that follow from the facts about a strategy."""
    refused = dict.fromkeys(SINGLE_PASS, SINGLE)
    if facts.new_classes:
        others = [kind for kind in KINDS if SPECIAL_CASES.get(kind, kind) not in (*BY_CLASS, *SINGLE_PASS)]
        refused |= dict.fromkeys(others, ONE_PER_CLASS)
    return Traits(
        memory=facts.memory,
        gradient_free=True,
        scores=facts.scores,
        paper=facts.paper,
        unsupported_scenarios=refused,
        effects=("trains by itself",),
    )


def find_function(text: str, name: str) -> ast.FunctionDef | None:
    """The function of that name at the top of a file; None if there is none."""
    found = [node for node in parsed(text).body if isinstance(node, ast.FunctionDef) and node.name == name]
    return found[-1] if found else None


def read_function(text: str, node: ast.FunctionDef, home: Home) -> StrategySource:
    """Read a function that makes a strategy.

    Args:
        text: The text of its file.
        node: The function.
        home: The location of the file.

    Raises:
        ValueError: If it takes no model, or an argument's default cannot be stored in a record.
    """
    names = {argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)}
    if "model" not in names:
        raise ValueError(
            f"line {node.lineno}: a function that makes an Avalanche strategy has the argument 'model', and may have "
            f"{', '.join(SIZES[1:])}; {node.name} has {', '.join(sorted(names)) or 'none'}"
        )
    return StrategySource(
        summary=first_line(ast.get_docstring(node)),
        parameters=tuple(_own_parameters(node)),
        traits=traits_of(replace(UNKNOWN, scores=_scores(text))),
        hooks=frozenset(HOOKS),
        text=text,
        home=home,
        alone=Alone(),
        version=_version(),
    )


def with_version(distribution: str) -> str:
    """The distribution of a user's function in records: its file, and Avalanche with its version."""
    return f"{distribution} with {DISTRIBUTION} {_version()}"


def _scores(text: str) -> Any:
    """The kind of scores that a file declares as ``SCORES = "distance"``.

    Raises:
        ValueError: If there is no such kind.
    """
    given = _assigned(parsed(text))
    scores = ast.literal_eval(given["SCORES"]) if "SCORES" in given else "logits"
    if scores not in get_args(Scores):
        raise ValueError(f"SCORES is {shown(scores)}, but must be one of {', '.join(get_args(Scores))}")
    return scores


def _assigned(tree: ast.Module) -> dict[str, ast.expr]:
    """What a file assigns to names at its top."""
    return {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _own_parameters(node: ast.FunctionDef) -> Iterator[Parameter]:
    """The arguments of a function that a method gives."""
    for argument, default in own_arguments(node, skip=0):
        if argument.arg in SIZES:
            continue
        try:
            value = MISSING if default is None else ast.literal_eval(default)
        except ValueError as error:
            raise ValueError(f"line {node.lineno}: the default of '{argument.arg}' is not a literal") from error
        yield Parameter(argument.arg, ast.unparse(argument.annotation) if argument.annotation else "Any", value)


def _parameters(constructor: ast.FunctionDef | None) -> Iterator[Parameter]:
    """The arguments of a strategy that a method gives; one whose default is an object keeps this default."""
    for argument, default in own_arguments(constructor) if constructor else ():
        if argument.arg in GIVEN:
            continue
        try:
            value = MISSING if default is None else ast.literal_eval(default)
        except ValueError:
            continue
        annotation = ast.unparse(argument.annotation) if argument.annotation else ""
        yield Parameter(argument.arg, _annotation(annotation, value), value)


def _annotation(text: str, default: Any) -> str:
    """The annotation of an argument, or the type of its default if there is none or they disagree."""
    of_default = type(default).__name__ if isinstance(default, bool | int | float | str) else "Any"
    return "float" if (text, of_default) == ("int", "float") else text or of_default


def _version() -> str:
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError as error:
        raise UserError(f"Avalanche is not installed: pip install {DISTRIBUTION}") from error


@cache
def _classes() -> dict[str, tuple[ast.ClassDef, ast.FunctionDef | None]]:
    """The strategies that Avalanche's training module exports, by name, each with its constructor."""
    spec = find_module(TRAINING)
    if spec is None or spec.origin is None:
        raise UserError(f"Avalanche is not installed: pip install {DISTRIBUTION}")
    folder, found = Path(spec.origin).parent, dict[str, tuple[ast.ClassDef, ast.FunctionDef | None]]()
    for node in parsed(read_text(Path(spec.origin))).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [alias.name for alias in node.names]
            found.update(_strategies_in(parsed(read_text(folder / f"{node.module}.py")), names))
    return found


def _strategies_in(tree: ast.Module, names: Sequence[str]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """The strategies of a file among those that are imported from it."""
    listed = _assigned(tree).get("__all__")
    exported = ast.literal_eval(listed) if "*" in names and listed else names
    for node in tree.body:
        if not isinstance(node, ast.ClassDef) or node.name not in exported:
            continue
        if any(ast.unparse(base).partition("[")[0].endswith(TEMPLATE) for base in node.bases):
            inner = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
            yield node.name, (node, inner[0] if inner else None)
