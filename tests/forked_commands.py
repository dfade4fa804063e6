"""The command line in a process of its own that has the libraries already: a fork of the server that starts runs."""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from clsuite.runner.processes import ForkServer


class Ended(NamedTuple):
    """How a command has ended, and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


def run_forked(words: list[str], folder: Path, stdin: str, timeout: float = 300) -> Ended:
    """Run ``clsuite`` with some words in the current folder, which imports nothing that takes time.

    Args:
        words: The words after ``clsuite``.
        folder: Folder of the files that receive what it writes.
        stdin: Path of the file or terminal that it reads.
        timeout: Seconds after which it is killed.
    """
    paths = [stdin, str(folder / "stdout"), str(folder / "stderr")]
    worker = ForkServer().start(_call, (words, paths))
    worker.process.join(timeout)
    code = worker.process.exitcode
    worker.kill()
    assert code is not None, f"{words} has not ended after {timeout} s"
    return Ended(code, *(Path(path).read_text() for path in paths[1:]))


def _call(work: tuple[list[str], list[str]], connection: Connection) -> None:
    """Call the command line with the three standard streams of files."""
    words, paths = work
    for number, path in enumerate(paths):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC if number else os.O_RDONLY)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from clsuite.cli.main import main

    status = main(words)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
