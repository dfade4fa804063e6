"""``clsuite status`` on a folder of many records: one real record, copied under the names of many methods and seeds."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

LIMIT = 2.0
"""Seconds that it may take for 10,000 records."""
SEEDS = 50
"""Records of a method."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this part."""
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=3, help="times that it is started; the least counts")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time the command.

    Raises:
        SystemExit: If it fails, or does not count all records.
    """
    with TemporaryDirectory(dir=arguments.scratch) as folder:
        size = _fill(Path(folder), arguments.records)
        seconds = min(_seconds(folder, arguments.records) for _ in range(arguments.times))
    print(f"status of {arguments.records} records of {size / 1000:.0f} kB: {seconds:.2f} s (at most {LIMIT})")
    return {"records": arguments.records, "record_bytes": size, "seconds": seconds, "limit": LIMIT}


def _fill(folder: Path, number: int) -> int:
    """Make the records; returns how large one is, in bytes."""
    clsuite = [sys.executable, "-m", "clsuite"]
    command = [*clsuite, "bench", "quickstart", "--methods", "ncm", "--seeds", "0", "--out", str(folder)]
    subprocess.run(command, capture_output=True, check=True)
    (path,) = folder.rglob("seed0-*.json")
    text = path.read_text("utf-8")
    record, key = json.loads(text), path.stem.removeprefix("seed0-")
    for one in range(number - 1):
        method, seed = f"ncm {one // SEEDS}", one % SEEDS
        copy = text.replace(f'"method": "{record["method"]}"', f'"method": "{method}"', 1)
        copy = copy.replace(f'"seed": {record["seed"]}', f'"seed": {seed}', 1)
        place = path.parents[1] / method
        place.mkdir(exist_ok=True)
        (place / f"seed{seed}-{key}.json").write_text(copy, "utf-8")
    return len(text)


def _seconds(folder: str, number: int) -> float:
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "clsuite", "status", folder], capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode or not done.stdout.startswith(f"{number} done"):
        raise SystemExit(done.stdout + done.stderr)
    return seconds
