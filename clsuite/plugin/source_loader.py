"""Imports that run the source that was hashed: of modules beside a plugin, compiled files are neither read nor written.

Such a module is part of what was hashed (`clsuite.plugin.source_hash`): what was read then is what runs, whatever its
file holds by now, and a compiled file beside it may hold anything. A local module that no hash knows, as its name is
computed, is read from its source.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from types import CodeType, ModuleType
from typing import Any

from clsuite.plugin.source_hash import (
    FRAMEWORK,
    GivesHashed,
    HashedSource,
    LocalModule,
    is_installed,
    is_python,
    is_reference,
)
from clsuite.regular_files import read_bytes


class _FromSource(SourceFileLoader):
    """A loader that knows of no compiled file."""

    def path_stats(self, path: Any) -> Any:
        """Tell that nothing is known of the file, so that none that is compiled can belong to it.

        Raises:
            OSError: Always.
        """
        raise OSError(f"compiled code of '{path}' is not used")

    def get_data(self, path: str) -> bytes:
        """The content of the file.

        Raises:
            OSError: If it is not a regular one.
        """
        return read_bytes(path)


class _FromMemory(_FromSource):
    """A loader that runs what was hashed and reads no file."""

    def __init__(self, name: str, module: LocalModule) -> None:
        """Remember the content."""
        super().__init__(name, module.path)
        self.content = module.content

    def get_code(self, fullname: str) -> CodeType:
        """The code of the content that was hashed."""
        return self.source_to_code(self.content, self.path)


class _Finder(GivesHashed):
    """Finds local modules as ``import`` would, and has their source run; those that were hashed as they were then."""

    def __init__(self) -> None:
        """Know of no module yet."""
        self.hashed: dict[str, LocalModule] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module with that loader where it is a local one; None leaves it to the other finders."""
        if name.partition(".")[0] in FRAMEWORK:
            return None
        if name in self.hashed:
            return _spec_of(name, self.hashed[name])
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or type(spec.loader) is not SourceFileLoader or is_python(spec) or is_installed(spec):
            return None
        spec.loader = _FromSource(spec.loader.name, spec.loader.path)
        spec.cached = None
        return spec


def _spec_of(name: str, module: LocalModule) -> ModuleSpec | None:
    spec = spec_from_file_location(name, module.path, loader=_FromMemory(name, module))
    if spec is not None:
        spec.cached = None
    return spec


FINDER = _Finder()


def import_from_source(source: HashedSource | None = None, is_file: bool = True) -> None:
    """From now on have the source of local modules run, in this process, and those that were hashed as they were then.

    What this process has imported by such a name from something else is forgotten, to be imported again.

    Args:
        source: What the modules of the next import were hashed from.
        is_file: Whether it is that of a file, and not of a package, whose modules others may have imported before.
    """
    if FINDER not in sys.meta_path:
        sys.meta_path.insert(0, FINDER)
    if source is None:
        return
    for name in source.absent & FINDER.hashed.keys():
        del FINDER.hashed[name]
        sys.modules.pop(name, None)
    if any(_is_another(name, module, is_file) for name, module in source.modules.items()):
        for name in source.modules:
            if not is_reference(name):
                sys.modules.pop(name, None)
    FINDER.hashed.update(source.modules)


def _is_another(name: str, module: LocalModule, is_file: bool) -> bool:
    """Whether something else than that content is known by the name, or something of which nothing is known."""
    if name not in sys.modules or is_reference(name):
        return False
    loader = getattr(sys.modules[name], "__loader__", None)
    return loader.content != module.content if isinstance(loader, _FromMemory) else is_file
