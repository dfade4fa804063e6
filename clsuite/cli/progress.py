"""Progress of a benchmark: live bars in a terminal, a line per run elsewhere."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from clsuite.runner.plan import RunPlan


class BenchProgress:
    """Shows how far each run under way is, and how many are done."""

    def __init__(self, console: Console, missing: int, done: int, first: int = 1, of: int | None = None) -> None:
        """Prepare for `missing` runs; `done` more are known already.

        Args:
            console: Where to show it.
            missing: Runs to do.
            done: Runs that are done.
            first: Number of the first of them, where they are a part of more.
            of: Number of all of them then.
        """
        self._before, self._of = first - 1, missing if of is None else of
        self._console, self._missing, self._done = console, missing, done
        self._finished = 0
        self._started: dict[Path, float] = {}
        self._bars: dict[Path, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> BenchProgress:
        if self._done:
            self._console.print(f"{self._done} runs are done already")
        self._progress.start()
        if self._missing:
            self._total = self._progress.add_task("all runs", total=self._missing, note=f"0 of {self._missing}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def hear(self, plan: RunPlan, event: dict[str, Any]) -> None:
        """Take an event of the pool."""
        handler = {"start": self._start, "progress": self._move, "warning": self._warn, "end": self._end}[event["kind"]]
        handler(plan, event)

    def _warn(self, plan: RunPlan, event: dict[str, Any]) -> None:
        self._console.print(f"warning: {plan.name}: {event['text']}", markup=False, soft_wrap=True)

    def _start(self, plan: RunPlan, event: dict[str, Any]) -> None:
        key = plan.record_path
        self._started[key] = time.monotonic()
        self._bars[key] = self._progress.add_task(plan.name, total=1.0, note="starting")

    def _move(self, plan: RunPlan, event: dict[str, Any]) -> None:
        note = f"task {event['task'] + 1}/{event['tasks']}"
        if "epoch" in event:
            note += f", epoch {event['epoch'] + 1}/{event['epochs']}, loss {event['loss']:.3f}"
        self._progress.update(self._bars[plan.record_path], completed=event["done"], note=note)
        self._update_total()

    def _end(self, plan: RunPlan, event: dict[str, Any]) -> None:
        key = plan.record_path
        self._finished += 1
        self._progress.remove_task(self._bars.pop(key))
        self._update_total()
        seconds = time.monotonic() - self._started[key]
        text = f"[{self._before + self._finished} of {self._of}] {plan.name}: {event['status']} in {seconds:.0f} s"
        self._console.print(text, markup=False)

    def _update_total(self) -> None:
        running = sum(task.completed for task in self._progress.tasks if task.id in self._bars.values())
        note = f"{self._finished} of {self._missing}"
        self._progress.update(self._total, completed=self._finished + running, note=note)
