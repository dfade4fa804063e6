"""Imports that run the source: of modules beside a plugin, compiled files are neither read nor written.

Such a module is part of what was hashed (`clsuite.plugin.source_hash`); a compiled file beside it may hold anything.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from clsuite.plugin.source_hash import FRAMEWORK, is_installed, is_python


class _FromSource(SourceFileLoader):
    """A loader that knows of no compiled file."""

    def path_stats(self, path: Any) -> Any:
        """Tell that nothing is known of the file, so that none that is compiled can belong to it.

        Raises:
            OSError: Always.
        """
        raise OSError(f"what is compiled of '{path}' is not asked for")


class _Finder:
    """Finds local modules as ``import`` would, and has their source run."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module with that loader where it is a local one; None leaves it to the other finders."""
        if name.partition(".")[0] in FRAMEWORK:
            return None
        spec = PathFinder.find_spec(name, path, target)
        return None if spec is None or is_python(spec) or is_installed(spec) else _from_source(spec)


class _Beside:
    """Finds modules that lie beside a plugin's file, after all other finders: only those that its hash holds.

    Attributes:
        folders: The folder in which each module is looked for, by the module's name.
        of_this_process: The hash of a source, which is the same in all processes, does not ask it.
    """

    of_this_process = True

    def __init__(self) -> None:
        """Know of no module."""
        self.folders: dict[str, Path] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module, to be run from its source."""
        if path is not None or name not in self.folders:
            return None
        spec = PathFinder.find_spec(name, [str(self.folders[name])], target)
        return spec if spec is None else _from_source(spec) or spec


FINDER, BESIDE = _Finder(), _Beside()


def import_from_source() -> None:
    """From now on have the source of local modules run, in this process."""
    if FINDER not in sys.meta_path:
        sys.meta_path.insert(0, FINDER)


def import_beside(folder: Path, modules: Iterable[str]) -> None:
    """From now on let modules of a folder be imported, in this process.

    Args:
        folder: The folder of a plugin's file.
        modules: Dotted names of the local modules that the file imports, wherever they are.

    Raises:
        ImportError: If a module of that name of another folder was imported before.
    """
    if BESIDE not in sys.meta_path:
        sys.meta_path.append(BESIDE)
    for name in {module.partition(".")[0] for module in modules}:
        if PathFinder.find_spec(name) is not None or PathFinder.find_spec(name, [str(folder)]) is None:
            continue
        if name in sys.modules and BESIDE.folders.get(name, folder) != folder:
            raise ImportError(
                f"'{folder}' and '{BESIDE.folders[name]}' both have a module '{name}': rename one of them"
            )
        BESIDE.folders[name] = folder


def forget(modules: Iterable[str] = ()) -> None:
    """Let modules be imported anew that lie beside plugins' files.

    Args:
        modules: Others that are to be imported anew too, by their dotted names.
    """
    tops = {*BESIDE.folders, *modules}
    for name in [one for one in sys.modules if one in tops or one.partition(".")[0] in BESIDE.folders]:
        del sys.modules[name]
    BESIDE.folders.clear()


def _from_source(spec: ModuleSpec) -> ModuleSpec | None:
    """The same module with its source run; None where it has no source that could be."""
    if type(spec.loader) is not SourceFileLoader:
        return None
    spec.loader = _FromSource(spec.loader.name, spec.loader.path)
    spec.cached = None
    return spec
