"""Jobs of a batch system that go on without the command that has submitted them."""

from __future__ import annotations

import sys
from contextlib import suppress

from rich.console import Console

from clsuite.runner.executor import Executor, Submitting


def ask_to_cancel(console: Console, executor: Executor) -> None:
    """After Ctrl-C at a terminal, cancel the jobs if that is what is meant; else say that they go on."""
    if not isinstance(executor, Submitting):
        return
    answer = ""
    if sys.stdin is not None and sys.stdin.isatty():
        with suppress(KeyboardInterrupt, EOFError):
            answer = console.input("cancel the jobs that were submitted? [y/N] ", markup=False)
    if answer.strip().lower() in ("y", "yes"):
        executor.cancel()
        console.print("the jobs are cancelled")
    else:
        console.print("the jobs go on; the same command shows how far they are")
