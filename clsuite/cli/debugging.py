"""`--debug`: runs in this process for a debugger, without progress bars and with whole tracebacks."""

from __future__ import annotations

import pdb
import sys
import traceback
from typing import Any

from rich.console import Console

from clsuite.runner.executor import InProcess
from clsuite.runner.plan import RunPlan


class InView:
    """Runs in this process, reported line by line."""

    def __init__(self, console: Console, device: str) -> None:
        """Prepare.

        Args:
            console: Where lines are printed.
            device: The device of the runs.
        """
        self._console = console
        self.executor = InProcess(device, self.failed)

    def on_event(self, plan: RunPlan, event: dict[str, Any]) -> None:
        """Print that a run starts, or how it ended."""
        if event["kind"] == "start":
            self._console.print(f"run {plan.name}, on {plan.device}", soft_wrap=True)
        elif event["kind"] == "end":
            self._console.print(f"{event['status']}: {plan.name}", soft_wrap=True)

    def failed(self, plan: RunPlan, error: BaseException) -> None:
        """Print the whole traceback of a run, and open the debugger if the command runs in a terminal."""
        sys.last_type, sys.last_value, sys.last_traceback = type(error), error, error.__traceback__
        traceback.print_exception(error)
        if sys.stdin is not None and sys.stdin.isatty():
            self._console.print("post-mortem: q continues", soft_wrap=True)
            pdb.post_mortem(error.__traceback__)
