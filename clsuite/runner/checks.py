"""The check before the runs: every method is built and started once, one after the other, in another process.

What a method refuses (a wrong argument, something missing) is reported before anything runs. A method that hangs, or
ends the process, fails alone: a new process continues with the methods after it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from clsuite.errors import UserError, several
from clsuite.runner import worker_entry
from clsuite.runner.memory import Size
from clsuite.runner.plan import RunPlan
from clsuite.runner.processes import TRIES, ForkServer, Worker

CHECK_SECONDS = 300.0
"""Seconds that a method may take to be built and started, without loading its backbone."""


@dataclass(frozen=True)
class Failure:
    """How a method failed its check."""

    status: Literal["failed", "timeout"]
    reason: str


def check_methods(
    server: ForkServer, plans: Sequence[RunPlan], timeout: float | None, sizes: dict[str, Size]
) -> dict[str, Failure]:
    """Build and start every method of some plans once.

    Args:
        server: Starts the processes.
        plans: The plans.
        timeout: Seconds that a run may take; a check may take at most `CHECK_SECONDS`.
        sizes: Receives the size of each method that was built, by its `RunPlan.recipe`.

    Returns:
        How methods failed, by their `RunPlan.recipe`.

    Raises:
        UserError: With everything that the methods refuse, or if the stream cannot be made.
    """
    names = {plan.recipe: plan.pending.method for plan in plans}
    check = _Check(names, min(CHECK_SECONDS, timeout or CHECK_SECONDS), sizes)
    waiting, lost = list(names), 0
    while waiting:
        worker = server.start(worker_entry.check, [plan for plan in plans if plan.recipe in waiting])
        try:
            failure = check.follow(worker)
            lost += worker.is_lost
            again = worker.is_lost and lost < TRIES
        finally:
            worker.kill()
        if failure is None:
            break
        if not check.recipe and not again:
            raise UserError(f"the check of the benchmark crashed: {failure.reason}")
        first = check.recipe in ("", waiting[0])
        waiting = waiting[waiting.index(check.recipe) if check.recipe else 0 :]
        if not again and (first or failure.status == "timeout"):  # else it may be what one before it left behind
            check.failures[waiting.pop(0)] = failure
    check.refuse()
    return check.failures


@dataclass
class _Check:
    names: Mapping[str, str]
    limit: float
    sizes: dict[str, Size]
    recipe: str = ""
    refused: dict[str, str] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)

    def follow(self, worker: Worker) -> Failure | None:
        """Receive events of a process until it is done; returns how it failed or where it hangs, if it did."""
        self.recipe, deadline = "", None
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not worker.connection.poll(left):
                return Failure("timeout", f"its check before the runs was stopped after {self.limit:g} s")
            event = _next(worker)
            if event is None:
                worker.process.join()
                return Failure("failed", f"its check before the runs ended: {worker.how_it_ended()}")
            if event["kind"] == "end":
                return None
            if event["kind"] == "at":
                self.recipe = event["recipe"]
                deadline = time.monotonic() + self.limit if event["own"] else None
            elif event["kind"] == "size":
                self.sizes[event["recipe"]] = event["size"]
            elif event["recipe"]:
                self.refused[event["recipe"]] = event["text"]
            else:
                raise UserError(event["text"])

    def refuse(self) -> None:
        """Report what the methods refuse.

        Raises:
            UserError: If one refuses anything.
        """
        by_text: dict[str, list[str]] = {}
        for recipe, text in self.refused.items():
            by_text.setdefault(text, []).append(self.names[recipe])
        if not by_text:
            return
        if len(by_text) == 1 and not self.failures:
            raise UserError(next(iter(by_text)))
        lines = [f"{', '.join(dict.fromkeys(methods))}: {text}" for text, methods in by_text.items()]
        lines += [f"{self.names[recipe]}: {failure.reason}" for recipe, failure in self.failures.items()]
        raise several(lines)


def _next(worker: Worker) -> Mapping[str, Any] | None:
    """The next event from a process; None if it ended."""
    try:
        event: Mapping[str, Any] = worker.connection.recv()
        return event
    except Exception:  # it ended, or a plugin wrote something else into the connection
        return None
