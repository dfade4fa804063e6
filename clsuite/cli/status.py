"""`clsuite status`: prints the status of the runs of a folder, once or repeatedly."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from clsuite.cli.console import make_console
from clsuite.errors import on_screen, shortened
from clsuite.report.format import counted
from clsuite.report.units import final_spread
from clsuite.runner.status import FolderStatus, RunState, folder_status

MOST_SHOWN = 20
"""Largest number of runs with the same status that are listed."""
HOUR, MINUTE = 3600, 60


def run_status(folder: Path, watch: bool, every: float, stale_after: float) -> int:
    """Print the status of the runs of a folder; with `watch` until none is left to do, or Ctrl-C.

    Raises:
        UserError: If there is no such folder.
    """
    console = make_console()
    while True:
        status = folder_status(folder, stale_after)
        if watch and console.is_terminal:
            console.clear()
        for line in lines_of(status):
            console.print(on_screen(line), soft_wrap=True)
        if not watch or not status.of("running", "waiting", "interrupted"):
            return 0
        try:
            time.sleep(every)
        except KeyboardInterrupt:
            return 0


def lines_of(status: FolderStatus) -> Iterator[str]:
    """The status of the runs in words."""
    running, failed = status.of("running"), status.of("failed", "timeout")
    numbers = {"done": len(status.of("done")), "running": len(running), "waiting": len(status.of("waiting")),
               "interrupted": len(status.of("interrupted")), "failed": len(failed)}  # fmt: skip
    yield ", ".join(f"{number} {word}" for word, number in numbers.items() if number or word == "done")
    yield f"{words_for(status.spent)} spent{_to_come(status, len(running))}"
    yield from _listed(sorted(running, key=lambda run: -run.seconds), _run_line)
    yield from _listed(failed, lambda run: f"{run.status}: {run.name}: {run.reason}")
    yield from _over_orders(status)


def _to_come(status: FolderStatus, at_once: int) -> str:
    if not status.of("running", "waiting", "interrupted"):
        return ""
    if status.to_come is None:
        return "; what is to come cannot be told before the first run is done"
    text = f", {words_for(status.to_come)} to come"
    return f"{text}: with {at_once} at a time about {words_for(status.to_come / at_once)}" if at_once else text


def _listed(runs: list[RunState], line_of: Callable[[RunState], str]) -> Iterator[str]:
    yield from (line_of(run) for run in runs[:MOST_SHOWN])
    if len(runs) > MOST_SHOWN:
        yield f"… and {counted(len(runs) - MOST_SHOWN, 'more run')} {runs[0].status}"


def _over_orders(status: FolderStatus) -> Iterator[str]:
    """How far each method with several orders is, and its final accuracy over those that are done."""
    methods: dict[tuple[str, str], list[RunState]] = {}
    for run in status.runs.values():
        if run.order:
            methods.setdefault((run.benchmark, run.method), []).append(run)
    for (benchmark, method), runs in methods.items():
        orders, done = {run.order for run in runs}, [run for run in runs if run.status == "done"]
        if len(orders) > 1 and done:
            spread = final_spread([run.path for run in done])
            text = f": final accuracy {spread} (min · median · max)" if spread else ""
            number = len({run.order for run in done})
            yield f"orders: {benchmark}: {method}: {number} of {len(orders)} orders{text}"


def _run_line(run: RunState) -> str:
    """Who has a run, since when, and its progress."""
    assert run.holder is not None
    progress = run.holder.progress
    task = f", task {progress['task'] + 1} of {progress['tasks']}" if {"task", "tasks"} <= progress.keys() else ""
    left = f", about {words_for(run.left)} left" if run.left is not None else ""
    return f"running: {run.name}: on {shortened(run.holder.place)}, for {words_for(run.seconds)}{task}{left}"


def words_for(seconds: float) -> str:
    """A time in words: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / MINUTE:.0f} min" if seconds < HOUR else f"{seconds / HOUR:.1f} h"
