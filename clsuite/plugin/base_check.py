"""Whether a user-defined class derives from the class that its part of a benchmark needs, read from source files.

Planning imports neither PyTorch nor user code, so that bases are followed from file to file, those of PyTorch included.
Where the files alone do not say, nothing is refused: the class is imported before the first run, and checked then.
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
"""What a class must derive from, by the part of a benchmark: where it is defined, and its public name."""
NEEDS_METRIC = "torch.optim.lr_scheduler.ReduceLROnPlateau"
"""The schedule of PyTorch's that waits for a value that training does not give."""


def wrong_base(scope: Scope, name: str, part: str) -> str:
    """Why a class cannot be a part of a benchmark; empty where it can be, or where the files do not say.

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
        return "waits for a value that training does not give: take another"
    return f"is not a subclass of {public}" if _derives(found, needed) is False else ""


def module_scope(name: str) -> Scope | None:
    """The names of an installed module, which may be PyTorch's; None where it has no file that can be read."""
    spec = find_module(name)
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    return read_scope(Home(name, Path(spec.origin), spec.submodule_search_locations is not None))


def _derives(found: Found, needed: str) -> bool | None:
    """Whether something is a class that derives from another one; None where the files do not say."""
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
    """The bases of a class that may matter; None for one whose definition is not found."""
    for base in node.bases:
        named = base.value if isinstance(base, ast.Subscript) else base
        meaning = scope.resolve(named, node.lineno)
        if not (isinstance(meaning, External) and (meaning.name in HARMLESS or hasattr(builtins, meaning.name))):
            yield _definition(meaning)


def _definition(meaning: Meaning) -> Found | None:
    """The definition of what a name stands for, looked for in PyTorch's files too."""
    for _ in range(LONGEST_CHAIN):
        if isinstance(meaning, Found) and isinstance(meaning.node, ast.Name | ast.Attribute):
            meaning = meaning.scope.resolve(meaning.node, meaning.node.lineno)
        elif isinstance(meaning, External):
            meaning = _of_framework(*meaning.name.rpartition(".")[::2])
        else:
            break
    return meaning if isinstance(meaning, Found) else None


def _of_framework(module: str, name: str, chain: int = 0) -> Meaning:
    """What a name of a module of PyTorch's, or of another dependency of clsuite, stands for."""
    scope = module_scope(module) if module and chain < LONGEST_CHAIN else None
    if scope is None:
        return None
    found = scope.member(name, 0)
    for star in scope.stars:
        found = found or _of_framework(star, name, chain + 1)
    return found
