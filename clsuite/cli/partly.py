"""What tables and plots leave out because it is not done yet, such as ``replay: 2 of 3 seeds``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clsuite.cli.console import make_console
from clsuite.runner.status import RunState, folder_status


def print_unfinished(places: Sequence[Path]) -> None:
    """Print the methods for which planned seeds are missing in some folders, on standard error."""
    groups: dict[tuple[str, str], list[RunState]] = {}
    for place in places:
        for run in folder_status(place).runs.values() if place.is_dir() else ():
            groups.setdefault((run.benchmark, run.method), []).append(run)
    for (benchmark, method), runs in groups.items():
        planned = {(run.seed, run.order) for run in runs}
        done = {(run.seed, run.order) for run in runs if run.status == "done"}
        if done != planned:
            states = sorted({run.status for run in runs if (run.seed, run.order) not in done})
            what = "runs" if any(run.order for run in runs) else "seeds"
            text = f"{benchmark}: {method}: {len(done)} of {len(planned)} {what} (the others: {', '.join(states)})"
            make_console(stderr=True).print(text, soft_wrap=True)
