"""`--detach`: the same command in a session of its own, which continues without a terminal."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from clsuite.cli.console import make_console
from clsuite.errors import UserError
from clsuite.interpreters import PYTHON

OPTION = "--detach"


def detach(words: Sequence[str], folder: Path, out: Path) -> int:
    """Start a command without a terminal, and print how to follow it; returns the exit status.

    Args:
        words: The command line, with the option.
        folder: Folder for its output.
        out: The folder of runs.

    Raises:
        UserError: If it cannot be started.
    """
    command = [*PYTHON, "-m", "clsuite", *(word for word in words if word != OPTION)]
    try:
        handle, log = tempfile.mkstemp(prefix="detached-", suffix=".log", dir=folder)
        with os.fdopen(handle, "wb") as opened:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=opened, stderr=opened, start_new_session=True
            )
    except OSError as error:
        raise UserError(f"cannot start a separate process: {error.strerror or error}") from error
    console = make_console()
    console.print(f"detached: process {process.pid}, whose output goes to {log}", soft_wrap=True)
    console.print(f"progress: clsuite status {shlex.quote(str(out))} --watch", soft_wrap=True, no_wrap=True)
    console.print(f"to end it: kill {process.pid} (finished runs are kept)", soft_wrap=True)
    return 0
