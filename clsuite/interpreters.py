"""Other Python processes: none of them takes a module from the current folder, which may hold anybody's files.

``python -c`` and ``python -m`` look there before anywhere else, so that a ``json.py`` among records from elsewhere
would run in place of Python's own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SAFE = "PYTHONSAFEPATH"
"""What keeps an interpreter from looking for modules in the current folder, where it is set."""
PYTHON = (sys.executable, "-P")
"""Begins the command of an interpreter that does not."""


def own_path() -> str:
    """``PYTHONPATH`` of a process that is to find the modules that this one finds, except for those of `""`."""
    return os.pathsep.join([*filter(None, sys.path), str(Path(__file__).parents[1])])


@contextmanager
def safe_path() -> Iterator[None]:
    """Interpreters that a library starts in the meantime do not look for modules in the current folder."""
    before = os.environ.get(SAFE)
    os.environ[SAFE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE]
        else:
            os.environ[SAFE] = before
