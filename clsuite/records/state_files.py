"""The files of the states that a run has kept, in a folder beside its record."""

from __future__ import annotations

import re
from pathlib import Path

from clsuite.errors import UserError

STATES = ".states"
"""The suffix of the folder."""
NAME = re.compile(r"task[1-9][0-9]*\.state")


def state_path(folder: Path, task: int) -> Path:
    """The file of the state after a task, which is numbered from 1."""
    return folder / f"task{task}.state"


def state_files(folder: Path) -> list[Path]:
    """The states in a folder; none if it is a link, or is not there."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if NAME.fullmatch(path.name))


def remove_states(folder: Path) -> None:
    """Remove the states of an earlier run, and their folder if nothing else is in it.

    Raises:
        UserError: If one cannot be removed.
    """
    found = state_files(folder)
    try:
        for path in found:
            path.unlink()
        if found and not any(folder.iterdir()):
            folder.rmdir()
    except OSError as error:
        raise UserError(f"cannot remove the states in '{folder}': {error.strerror or error}") from error
