"""Finds plugins through the entry-point group ``clsuite.plugins``, both clsuite's own and those of third parties."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from clsuite import regular_files
from clsuite.errors import (
    LONGEST_NAME,
    LONGEST_WORDS,
    UserError,
    did_you_mean,
    is_foreign,
    shortened,
    words_of,
)
from clsuite.plugin import loading
from clsuite.plugin.import_check import as_imported
from clsuite.plugin.imported import describe, differences
from clsuite.plugin.introspection import PluginInfo, PluginSource, read_source
from clsuite.plugin.source_hash import Home, find_module
from clsuite.plugin.source_loader import import_from_source
from clsuite.plugin.strategies import MODULE as STRATEGIES
from clsuite.plugin.strategies import (
    StrategySource,
    describe_target,
    find_function,
    find_strategy,
    is_strategy,
    is_target,
    read_function,
    with_version,
)
from clsuite.plugin.syntax_hash import parsed

if TYPE_CHECKING:
    from clsuite.plugin.base import Plugin

GROUP = "clsuite.plugins"


class BrokenPluginError(UserError):
    """A plugin whose module raises an error when it is imported."""


@cache
def catalog() -> dict[str, PluginInfo]:
    """All plugins by name, including broken ones. Imports neither them nor torch."""
    found: dict[str, PluginInfo] = {}
    distributions: dict[int, str] = {}  # a cache: metadata are parsed at each access
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, not is_ours(entry.value))):
        if id(entry.dist) not in distributions:
            distributions[id(entry.dist)] = _distribution(entry)
        distribution = distributions[id(entry.dist)]
        if entry.name in found and found[entry.name].target != entry.value:
            taken = f"the name '{entry.name}' is taken by {found[entry.name].distribution}"
            found[f"{entry.name} ({distribution})"] = PluginInfo(entry.name, entry.value, distribution, None, taken)
        else:
            found[entry.name] = _inspect(entry.name, entry.value, distribution)
    return found


def find_plugin(name: str, folders: Sequence[Path] = (Path(),)) -> tuple[PluginInfo, PluginSource]:
    """Find a plugin by name.

    It is read from its source. If that is not sufficient, its class is imported once, in another process.

    Args:
        name: A registered name, ``package.module:Class``, ``file.py``, ``file.py:Class``, ``avalanche:Strategy`` or
            ``file.py:function``.
        folders: Folders in which a file is searched.

    Raises:
        UserError: If there is no such plugin, or it is broken.
    """
    info, source = read_plugin(name, folders)
    if source.unclear:
        from clsuite.config.paths import cache_folder

        (info,) = as_imported([info], cache_folder())
        source = _source_of(name, info)
    return info, source


def read_plugin(name: str, folders: Sequence[Path] = (Path(),)) -> tuple[PluginInfo, PluginSource]:
    """Find a plugin by name and read its source, which may not be sufficient (`PluginSource.unclear`).

    Nothing is imported.

    Args:
        name: The name, as for `find_plugin`.
        folders: Folders in which a file is searched.

    Raises:
        UserError: If there is no such plugin, or it is broken.
    """
    known = catalog()
    if name in known:
        info = _reread(known[name])
    elif loading.is_file(name):
        info = _of_file(name, folders)
    elif is_strategy(name):
        info = find_strategy(name)
    elif loading.is_importable(name):
        info = _of_target(name)
    else:
        raise unknown_plugin(name, known, folders)
    return info, _source_of(name, info)


def _source_of(name: str, info: PluginInfo) -> PluginSource:
    if info.source is None:
        file, line = info.target.rpartition(":")[0], re.search(r"\bline (\d+)", info.problem)
        raise UserError(
            f"plugin '{name}' of {info.distribution} is broken: {info.problem}",
            path=file if file.endswith(".py") else None,
            line=int(line[1]) if line else None,
            field=name,
        )
    return info.source


def unknown_plugin(name: str, known: Iterable[str], folders: Sequence[Path] = (Path(),)) -> UserError:
    """The error for an unknown plugin; suggests a file of that name.

    Args:
        name: The name.
        known: Names of plugins, and other names that are allowed.
        folders: Folders in which files are searched.
    """
    file = f"{name}.py"
    if any((folder / file).is_file() for folder in folders if len(name) < LONGEST_NAME):
        return UserError(f"unknown plugin '{name}'. Did you mean the file './{file}'?")
    return did_you_mean("plugin", name, known)


def load_class(info: PluginInfo) -> type[Plugin]:
    """Import a plugin's class.

    Raises:
        BrokenPluginError: If its module fails to import.
        UserError: If the class is not a plugin.
    """
    from clsuite.plugin.base import Plugin

    module, _, name = info.target.rpartition(":")
    try:
        imported = _import_hashed(info, module)
        loaded = getattr(imported, name)
        if isinstance(info.source, StrategySource) and info.source.home is not None:
            loaded = importlib.import_module(STRATEGIES).of_function(loaded)
    except BaseException as error:  # a foreign module may raise any error on import
        if not is_foreign(error):
            raise
        raise BrokenPluginError(f"plugin '{info.name}' fails to import: {words_of(error)}") from error
    if not (isinstance(loaded, type) and issubclass(loaded, Plugin)):
        raise UserError(f"plugin '{info.name}' names {info.target}, which is not a subclass of clsuite.plugin.Plugin")
    if info.source is not None and not info.source.unclear:
        _check_agreement(info.name, info.source, loaded)
    return loaded


def _check_agreement(name: str, read: PluginSource, loaded: type[Plugin]) -> None:
    """Check that a class has the declarations that were read from its source, checked and recorded.

    Raises:
        UserError: If it has others.
    """
    try:
        others = differences(read, describe(loaded))
    except ValueError as error:
        raise UserError(f"plugin '{name}': {error}") from error
    if others:
        raise UserError(
            f"the {' and '.join(others)} of plugin '{name}' differ between its source and the imported class: "
            "define them explicitly in the class"
        )


def _import_hashed(info: PluginInfo, module: str) -> ModuleType:
    """Import the module or the file of a plugin; if its source is known, the hashed text is executed."""
    hashed = info.source.hashed if info.source else None
    if module.endswith(".py"):
        return loading.import_file(module, info.source.text if info.source else None, hashed)
    import_from_source(hashed, is_file=False)
    return importlib.import_module(module)


def source_now(info: PluginInfo) -> str:
    """The hash of a plugin's current source; empty if it is broken."""
    source = _inspect(info.name, info.target, info.distribution).source
    return source.sha256 if source else ""


def is_ours(target: str) -> bool:
    """Whether a plugin is one of the reference methods."""
    return target.startswith("clsuite_plugins.")


def _distribution(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown distribution"


def _reread(info: PluginInfo) -> PluginInfo:
    """Read a plugin again: its files may have changed since, for example in a notebook."""
    return info if info.source is None else _inspect(info.name, info.target, info.distribution)


def _of_target(target: str) -> PluginInfo:
    """A plugin that is named by its module; if an entry point names the same class, the registered plugin."""
    named = [info for info in catalog().values() if info.target == target]
    return _reread(named[0]) if named else _inspect(target, target, loading.module_distribution(target))


def _of_file(name: str, folders: Sequence[Path]) -> PluginInfo:
    return described_file(name, *loading.locate(name, folders))


def described_file(name: str, target: str, text: str) -> PluginInfo:
    """A plugin that is a file, from the text that was read."""
    return _inspect(loading.short_name(name), target, loading.file_distribution(target, text), text)


def _inspect(name: str, target: str, distribution: str, text: str | None = None) -> PluginInfo:
    module, _, class_name = target.rpartition(":")
    if is_target(target):
        return describe_target(target)
    source: PluginSource | None = None
    problem = ""
    try:
        home = Home("", Path(module)) if module.endswith(".py") else _home_of(module)
        text = regular_files.read_text(home.path) if text is None else text
        problem = _missing_import(text, home)
        function = find_function(text, class_name) if module.endswith(".py") else None
        if function is not None and not problem:
            source, distribution = read_function(text, function, home), with_version(distribution)
        elif not problem:
            source = read_source(text, class_name, home)
    except SyntaxError as error:
        problem = f"SyntaxError in line {error.lineno}: {error.msg}"
    except UnicodeDecodeError as error:
        problem = f"it is not UTF-8 (byte {error.start}): save it in UTF-8"
    except ValueError as error:  # with the message of the reader
        problem = shortened(str(error), LONGEST_WORDS)
    except Exception as error:  # a foreign file may contain anything
        problem = words_of(error)
    return PluginInfo(name, target, distribution, source, problem)


def _home_of(module: str) -> Home:
    spec = find_module(module)
    if spec is None or spec.origin is None:
        raise ImportError(f"no module named '{module}'")
    if not spec.has_location or not spec.origin.endswith(".py"):  # built-in or compiled
        raise ImportError(f"the module '{module}' has no Python file")
    return Home(module, Path(spec.origin), spec.submodule_search_locations is not None)


def _missing_import(text: str, home: Home) -> str:
    """The problem of the first top-level import that is neither installed nor beside the plugin's file."""
    folder = None if home.module else home.path.parent
    for node in parsed(text).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in names:
            top = name.split(".")[0]
            if importlib.util.find_spec(top) is None and find_module(top, folder) is None:
                return f"line {node.lineno}: no module named '{top}'"
    return ""
