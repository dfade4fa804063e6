"""Checks from source files whether a user-defined class derives from the base that its part of a benchmark needs.

Planning imports neither PyTorch nor user code, so bases are followed from file to file, including PyTorch's. If the
files are not sufficient, nothing is refused: the class is imported and checked before the first run.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from pathlib import Path

from clsuite.plugin.inheritance import HARMLESS
from clsuite.plugin.scopes import LONGEST_CHAIN, External, Found, Meaning, Scope, read_scope
from clsuite.plugin.source_hash import Home, find_module

BASES = {
    "backbone": ("torch.nn.modules.module.Module", "torch.nn.Module"),
    "optimizer": ("torch.optim.optimizer.Optimizer", "torch.optim.Optimizer"),
    "probe": ("clsuite.probes.own.Probe", "clsuite.probes.own.Probe"),
    "schedule": ("torch.optim.lr_scheduler.LRScheduler", "torch.optim.lr_scheduler.LRScheduler"),
}
"""The required base class by part of a benchmark: where it is defined, and its public name."""
NEEDS_METRIC = "torch.optim.lr_scheduler.ReduceLROnPlateau"
"""The schedule of PyTorch that needs a metric, which training does not provide."""


def wrong_base(scope: Scope, name: str, part: str) -> str:
    """Why a class cannot be a part of a benchmark; empty if it can, or if the files are not sufficient to decide.

    Args:
        scope: The module of the class.
        name: The name of the class.
        part: The part of the benchmark.
    """
    if part not in BASES:
        return ""
    needed, public = BASES[part]
    found = _definition(scope.look_up(name) or _of_framework(scope.name, name))
    if found is None:
        return ""
    if part == "schedule" and _derives(found, NEEDS_METRIC):
        return "needs a metric, which training does not provide: use another schedule"
    return f"is not a subclass of {public}" if _derives(found, needed) is False else ""


def module_scope(name: str) -> Scope | None:
    """The names of an installed module, including PyTorch's; None if it has no readable file."""
    spec = find_module(name)
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    return read_scope(Home(name, Path(spec.origin), spec.submodule_search_locations is not None))


def _derives(found: Found, needed: str) -> bool | None:
    """Whether a definition is a class that derives from the needed one; None if the files are not sufficient."""
    clear, waiting, seen = True, [found], list[ast.AST]()
    while waiting:
        scope, node = (one := waiting.pop()).scope, one.node
        if isinstance(node, ast.ClassDef) and f"{scope.name}.{node.name}" == needed:
            return True
        clear = clear and isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.decorator_list
        if not isinstance(node, ast.ClassDef) or node in seen:
            continue
        seen.append(node)
        for base in _bases(scope, node):
            if base is None:
                clear = False
            else:
                waiting.append(base)
    return False if clear else None


def _bases(scope: Scope, node: ast.ClassDef) -> Iterator[Found | None]:
    """The relevant bases of a class; None for a base whose definition is not found."""
    for base in node.bases:
        named = base.value if isinstance(base, ast.Subscript) else base
        meaning = scope.resolve(named, node.lineno)
        if not (isinstance(meaning, External) and (meaning.name in HARMLESS or hasattr(builtins, meaning.name))):
            yield _definition(meaning)


def _definition(meaning: Meaning) -> Found | None:
    """The definition that a name refers to, which may be in PyTorch's files."""
    for _ in range(LONGEST_CHAIN):
        if isinstance(meaning, Found) and isinstance(meaning.node, ast.Name | ast.Attribute):
            meaning = meaning.scope.resolve(meaning.node, meaning.node.lineno)
        elif isinstance(meaning, External):
            meaning = _of_framework(*meaning.name.rpartition(".")[::2])
        else:
            break
    return meaning if isinstance(meaning, Found) else None


def _of_framework(module: str, name: str, chain: int = 0) -> Meaning:
    """What a name in a module of PyTorch, or of another dependency of clsuite, refers to."""
    scope = module_scope(module) if module and chain < LONGEST_CHAIN else None
    if scope is None:
        return None
    found = scope.member(name, 0)
    for star in scope.stars:
        found = found or _of_framework(star, name, chain + 1)
    return found
