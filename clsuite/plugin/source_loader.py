"""Imports that execute the hashed source: compiled files of local modules are neither read nor written.

A hashed module (`clsuite.plugin.source_hash`) is executed as it was read then, even if its file has changed since. A
compiled file beside it could contain anything. A local module in no hash, whose name is computed, is read from its
source.
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
    """A loader that uses no compiled files."""

    def path_stats(self, path: Any) -> Any:
        """Refuse information about the file, so that no compiled file can belong to it.

        Raises:
            OSError: Always.
        """
        raise OSError(f"compiled code of '{path}' is not used")

    def get_data(self, path: str) -> bytes:
        """Return the content of the file.

        Raises:
            OSError: If it is not a regular file.
        """
        return read_bytes(path)


class _FromMemory(_FromSource):
    """A loader that executes the hashed content and reads no file."""

    def __init__(self, name: str, module: LocalModule) -> None:
        """Set the content."""
        super().__init__(name, module.path)
        self.content = module.content

    def get_code(self, fullname: str) -> CodeType:
        """Return the code of the hashed content."""
        return self.source_to_code(self.content, self.path)


class _Finder(GivesHashed):
    """Finds local modules as ``import`` does, and executes their source, or their hashed content."""

    def __init__(self) -> None:
        """Start without hashed modules."""
        self.hashed: dict[str, LocalModule] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a local module with such a loader; None leaves the name to the other finders."""
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
    """Execute the source of local modules in this process from now on, and hashed modules as they were hashed.

    Modules of the same names with other content are removed from ``sys.modules``, so that they are imported again.

    Args:
        source: The hashed source of the next import.
        is_file: Whether it is a file and not a package, whose modules may have been imported by others.
    """
    if FINDER not in sys.meta_path:
        sys.meta_path.insert(0, FINDER)
    if source is None:
        return
    for name in source.absent & FINDER.hashed.keys():
        del FINDER.hashed[name]
        sys.modules.pop(name, None)
    if any(_differs(name, module, is_file) for name, module in source.modules.items()):
        for name in source.modules:
            if not is_reference(name):
                sys.modules.pop(name, None)
    FINDER.hashed.update(source.modules)


def _differs(name: str, module: LocalModule, is_file: bool) -> bool:
    """Whether a loaded module of that name has other, or unknown, content."""
    if name not in sys.modules or is_reference(name):
        return False
    loader = getattr(sys.modules[name], "__loader__", None)
    return loader.content != module.content if isinstance(loader, _FromMemory) else is_file
