"""Jobs of a batch system that continue without the command that submitted them."""

from __future__ import annotations

import sys
from contextlib import suppress

from rich.console import Console

from clsuite.runner.executor import Executor, Submitting


def ask_to_cancel(console: Console, executor: Executor) -> None:
    """After Ctrl-C in a terminal, ask whether to cancel the jobs; otherwise print that they continue."""
    if not isinstance(executor, Submitting):
        return
    answer = ""
    if sys.stdin is not None and sys.stdin.isatty():
        with suppress(KeyboardInterrupt, EOFError):
            answer = console.input("cancel the jobs that were submitted? [y/N] ", markup=False)
    if answer.strip().lower() in ("y", "yes"):
        executor.cancel()
        console.print("the jobs are canceled")
    else:
        console.print("the jobs continue; the same command shows their progress")
