"""Starting other Python processes, none of which imports modules from the current folder, which may be untrusted.

``python -c`` and ``python -m`` search the current folder first, so that a ``json.py`` in a folder of foreign records
would be run instead of Python's own module.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SAFE = "PYTHONSAFEPATH"
"""The environment variable that excludes the current folder from an interpreter's module search."""
PYTHON = (sys.executable, "-P")
"""The beginning of the command of an interpreter that does not search the current folder."""


def own_path() -> str:
    """``PYTHONPATH`` for a process that finds the same modules as this one, without the entry `""`."""
    return os.pathsep.join([*filter(None, sys.path), str(Path(__file__).parents[1])])


@contextmanager
def safe_path() -> Iterator[None]:
    """Inside this context, interpreters that libraries start do not search the current folder."""
    before = os.environ.get(SAFE)
    os.environ[SAFE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE]
        else:
            os.environ[SAFE] = before
