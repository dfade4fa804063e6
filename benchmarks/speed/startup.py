"""How long clsuite takes to start: processor and wall seconds of what must answer at once."""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

MAIN = "import sys; from clsuite.cli.main import main; sys.exit(main(sys.argv[1:]))"
COMMANDS: dict[str, tuple[list[str], float | None]] = {
    "python": (["-c", "pass"], None),
    "import clsuite": (["-c", "import clsuite"], 0.1),
    "clsuite --help": (["-c", MAIN, "--help"], 0.3),
    "clsuite bench --help": (["-c", MAIN, "bench", "--help"], 0.3),
    "clsuite list plugins": (["-c", MAIN, "list", "plugins"], 0.6),
    "clsuite list benchmarks": (["-c", MAIN, "list", "benchmarks"], None),
    "clsuite bench quickstart --dry-run": (["-c", MAIN, "bench", "quickstart", "--dry-run"], None),
}
"""What Python is started with, by what it is called, and the seconds that it may take."""


@dataclass(frozen=True)
class Start:
    """A command that was started several times.

    Attributes:
        name: What is typed.
        goal: Seconds that it may take; None where none are promised.
        processor: Seconds of the processor, in the program and in the system: the least of all times.
        wall: Seconds that pass: the least of all times.
    """

    name: str
    goal: float | None
    processor: float
    wall: float


def measure(name: str, times: int) -> Start:
    """Start a command several times in an empty folder, one after another.

    Raises:
        subprocess.CalledProcessError: If it fails.
    """
    arguments, goal = COMMANDS[name]
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(times):
            before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run([sys.executable, *arguments], cwd=folder, stdout=subprocess.DEVNULL, check=True)
            wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
            taken.append((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall))
    return Start(name, goal, min(processor for processor, _ in taken), min(wall for _, wall in taken))


def where() -> dict[str, str]:
    """The day, and what the figures hold for."""
    return {"date": f"{datetime.now(UTC):%Y-%m-%d}", "processor": _processor(), "python": platform.python_version()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def show(starts: Sequence[Start]) -> None:
    """Print a row for each command."""
    table = Table(title=", ".join(where().values()))
    table.add_column("command")
    for heading in ("goal s", "processor s", "wall s"):
        table.add_column(heading, justify="right")
    for start in starts:
        goal = "" if start.goal is None else f"{start.goal:g}"
        table.add_row(start.name, goal, f"{start.processor:.2f}", f"{start.wall:.2f}")
    Console().print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all commands; the exit status says whether each stays within its goal by the processor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="how often each is started; the fastest counts")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    given = parser.parse_args(arguments)
    starts = [measure(name, given.times) for name in COMMANDS]
    show(starts)
    if given.json is not None:
        figures = {**where(), "starts": [asdict(start) for start in starts]}
        given.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return int(any(start.goal is not None and start.processor > start.goal for start in starts))


if __name__ == "__main__":
    sys.exit(main())
