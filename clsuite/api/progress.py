"""Progress of runs: live bars in a terminal or a notebook, elsewhere a line per run."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from clsuite.errors import InputWarning, on_screen, warn_of
from clsuite.report.format import counted
from clsuite.runner.plan import RunPlan


def make_bars(console: Console, shown: bool, first: TextColumn | None = None, transient: bool = False) -> Progress:
    """Progress bars with a note and times; each has the fields ``description`` and ``note``.

    Args:
        console: Where they are shown.
        shown: Whether they are shown at all.
        first: The column before the bar; by default the description.
        transient: Whether they disappear when they end.
    """
    return Progress(
        first or TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=transient,
        disable=not shown,
    )


def note_of(event: dict[str, Any]) -> str:
    """The progress of a run, in words."""
    note = f"task {event['task'] + 1}/{event['tasks']}"
    if "epoch" in event:
        note += f", epoch {event['epoch'] + 1}/{event['epochs']}, loss {event['loss']:.3f}"
    return note


class _Bars:
    """Bars that disappear when a block ends, however it ends."""

    _progress: Progress

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


class RunProgress(_Bars):
    """Shows the progress of a run.

    Terminals and notebooks with ipywidgets get a bar; a notebook without them gets a line per task.
    """

    def __init__(self, console: Console | None = None, shown: bool = True) -> None:
        """Prepare the bar; with `shown` false nothing is shown."""
        self._console = console or Console(highlight=False)
        widgets = importlib.util.find_spec("ipywidgets") is not None
        bar = self._console.is_terminal or (self._console.is_jupyter and widgets)
        self._lines = shown and self._console.is_jupyter and not bar
        self._progress = make_bars(self._console, shown and bar, transient=True)

    def __enter__(self) -> RunProgress:
        self._progress.start()
        return self

    def on_event(self, plan: RunPlan, event: dict[str, Any]) -> None:
        """Handle an event of the run."""
        if event["kind"] == "start":
            self._bar = self._progress.add_task(on_screen(plan.name), total=1.0, note="starting")
        elif event["kind"] == "progress":
            note = note_of(event)
            if self._lines and "epoch" not in event:
                self._console.print(f"{plan.name}: {note} is learned", markup=False)
            self._progress.update(self._bar, completed=event["done"], note=note)
        elif event["kind"] == "warning":
            warn_of(event["text"], InputWarning)


class BenchProgress(_Bars):
    """Shows the progress of each run that is under way, and how many runs are done."""

    def __init__(self, console: Console, missing: int, done: int, first: int = 1, of: int | None = None) -> None:
        """Prepare for `missing` runs; `done` others are done already.

        Args:
            console: Where to show it.
            missing: Number of runs to do.
            done: Number of runs that are done.
            first: Number of the first of them, if they are a part of more runs.
            of: Number of all runs then.
        """
        self._before, self._of = first - 1, missing if of is None else of
        self._console, self._missing, self._done = console, missing, done
        self._finished = 0
        self._started: dict[Path, float] = {}
        self._bars: dict[Path, TaskID] = {}
        self._progress = make_bars(console, console.is_terminal)

    def __enter__(self) -> BenchProgress:
        if self._done:
            self._console.print(f"{counted(self._done, 'run')} done already")
        self._progress.start()
        if self._missing:
            self._total = self._progress.add_task("all runs", total=self._missing, note=f"0 of {self._missing}")
        return self

    def on_event(self, plan: RunPlan, event: dict[str, Any]) -> None:
        """Handle an event of a run."""
        handlers = {"start": self._start, "progress": self._move, "warning": self._warn, "end": self._end,
                    "claimed": self._claimed, "elsewhere": self._elsewhere}  # fmt: skip
        handlers[event["kind"]](plan, event)

    def _warn(self, plan: RunPlan, event: dict[str, Any]) -> None:
        self._console.print(Text(on_screen(f"warning: {plan.name}: {event['text']}")), soft_wrap=True)

    def _start(self, plan: RunPlan, event: dict[str, Any]) -> None:
        key = plan.record_path
        self._started.setdefault(key, time.monotonic())
        self._remove_bar(key)  # there is one where a run begins again
        self._bars[key] = self._progress.add_task(on_screen(plan.name), total=1.0, note="starting")

    def _move(self, plan: RunPlan, event: dict[str, Any]) -> None:
        self._progress.update(self._bars[plan.record_path], completed=event["done"], note=note_of(event))
        self._update_total()

    def _claimed(self, plan: RunPlan, event: dict[str, Any]) -> None:
        self._remove_bar(plan.record_path)
        self._console.print(Text(on_screen(f"{plan.name}: under way on {event['by']}")), soft_wrap=True)

    def _end(self, plan: RunPlan, event: dict[str, Any]) -> None:
        seconds = time.monotonic() - self._started[plan.record_path]
        self._count(plan, f"{event['status']} in {seconds:.0f} s")

    def _elsewhere(self, plan: RunPlan, event: dict[str, Any]) -> None:
        self._count(plan, f"{event['status']} elsewhere")

    def _count(self, plan: RunPlan, outcome: str) -> None:
        self._finished += 1
        self._remove_bar(plan.record_path)
        self._update_total()
        text = f"[{self._before + self._finished} of {self._of}] {plan.name}: {outcome}"
        self._console.print(Text(on_screen(text)))

    def _remove_bar(self, key: Path) -> None:
        """Remove a run's bar, and wait until it is gone before anything is printed.

        If rich's own thread draws fewer bars while a line is being printed, the line is printed too far up, and the
        line above the bars is erased.
        """
        if key in self._bars:
            self._progress.remove_task(self._bars.pop(key))
            self._progress.refresh()

    def _update_total(self) -> None:
        running = sum(task.completed for task in self._progress.tasks if task.id in self._bars.values())
        note = f"{self._finished} of {self._missing}"
        self._progress.update(self._total, completed=self._finished + running, note=note)
