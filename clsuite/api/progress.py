"""Progress of one run: a bar in a terminal or a notebook, elsewhere nothing until it ends."""

from __future__ import annotations

import importlib.util
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from clsuite.errors import InputWarning, on_screen, warn_of
from clsuite.runner.plan import RunPlan


class RunProgress:
    """Shows how far a run is.

    Terminals and notebooks with ipywidgets get a bar; a notebook without them gets a line per task.
    """

    def __init__(self, console: Console | None = None, shown: bool = True) -> None:
        """Prepare; `shown` false shows nothing at all."""
        self._console = console or Console(highlight=False)
        widgets = importlib.util.find_spec("ipywidgets") is not None
        bar = self._console.is_terminal or (self._console.is_jupyter and widgets)
        self._lines = shown and self._console.is_jupyter and not bar
        self._task = 0
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not (shown and bar),
        )

    def __enter__(self) -> RunProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def hear(self, plan: RunPlan, event: dict[str, Any]) -> None:
        """Take an event of the pool."""
        if event["kind"] == "start":
            self._bar = self._progress.add_task(on_screen(plan.name), total=1.0, note="starting")
        elif event["kind"] == "progress":
            self._move(plan, event)
        elif event["kind"] == "warning":
            warn_of(event["text"], InputWarning)

    def _move(self, plan: RunPlan, event: dict[str, Any]) -> None:
        note = f"task {event['task'] + 1}/{event['tasks']}"
        if "epoch" in event:
            note += f", epoch {event['epoch'] + 1}/{event['epochs']}, loss {event['loss']:.3f}"
        elif self._lines:
            self._console.print(f"{plan.name}: {note} is learned", markup=False)
        self._progress.update(self._bar, completed=event["done"], note=note)
