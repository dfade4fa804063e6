"""Imports that run the source: of modules beside a plugin, compiled files are neither read nor written.

Such a module is part of what was hashed (`clsuite.plugin.source_hash`); a compiled file beside it may hold anything.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
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
        if spec is None or type(spec.loader) is not SourceFileLoader or is_python(spec) or is_installed(spec):
            return None
        spec.loader = _FromSource(spec.loader.name, spec.loader.path)
        spec.cached = None
        return spec


FINDER = _Finder()


def import_from_source() -> None:
    """From now on have the source of local modules run, in this process."""
    if FINDER not in sys.meta_path:
        sys.meta_path.insert(0, FINDER)
