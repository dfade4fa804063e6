"""A progress bar for loading data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from clsuite.data.progress import progress_to


@contextmanager
def loading_bar(console: Console) -> Iterator[None]:
    """Show the progress of loading data, in a terminal only."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
    )
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("looking at the data", total=None)
        with progress_to(lambda what, done, total: bar.update(task, description=what, completed=done, total=total)):
            yield
