"""Nine methods on frozen features, several seeds, on Caltech-101, without the features that runs share and with them.

Both sweeps learn from the same decoded table, in folders of their own, and end in the same counts; the store is empty
when the second one begins.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

NINE = {
    "means": "ncm",
    "covariances": "fecam",
    "discriminant": "lda",
    "projections": "ranpac(projection=500)",
    "head": "linear_probe",
    "head + replay": "linear_probe+replay(capacity=200)",
    "head + lwf": "linear_probe+lwf",
    "head + der": "linear_probe+der(capacity=200)",
    "head + agem": "linear_probe+agem(capacity=200)",
}
"""Methods that need nothing of the backbone but its features: class statistics, and heads alone."""
LIMIT = 0.25
"""Share of the time without the store that the sweep may take with it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this part."""
    parser.add_argument("--data-root", type=Path, required=True, help="folder of caltech101 and the weights")
    parser.add_argument("--benchmark", default="caltech101")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    parser.add_argument("--jobs", type=int, help="runs at a time")
    parser.add_argument("--limit-tasks", type=int, help="only the first tasks, where time is short")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as of `clsuite bench`")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time the sweep without the store and with it.

    Raises:
        SystemExit: If a sweep fails, or the counts differ.
    """
    with TemporaryDirectory(dir=arguments.scratch) as scratch:
        folder, seconds = Path(scratch), {}
        environment = {**os.environ, "CLSUITE_CACHE": str(folder / "cache")}
        environment.pop("CLSUITE_FEATURE_STORE", None)
        sweep(arguments, folder / "decoded", environment, ["--methods", "ncm", "--seeds", "0", "--no-feature-store"])
        for name, option in {"without": ["--no-feature-store"], "with": []}.items():
            started = time.perf_counter()
            sweep(arguments, folder / name, environment, [*_nine(arguments.seeds), *option])
            seconds[name] = time.perf_counter() - started
            print(f"{name} the store: {seconds[name]:.0f} s", flush=True)
        counts = [counts_below(folder / name) for name in seconds]
        if counts[0] != counts[1] or len(counts[0]) != len(NINE) * arguments.seeds:
            raise SystemExit(f"the counts differ, or are not those of {len(NINE) * arguments.seeds} runs")
    share = seconds["with"] / seconds["without"]
    print(f"{len(counts[0])} runs, equal counts: {share:.3f} of the time without (at most {LIMIT})")
    return {"runs": len(counts[0]), "seconds": seconds, "share": share, "limit": LIMIT}


def sweep(arguments: argparse.Namespace, out: Path, environment: dict[str, str], options: Sequence[str]) -> None:
    """Run the benchmark on Caltech-101 as people do.

    Raises:
        SystemExit: If a run fails.
    """
    words = ["bench", arguments.benchmark, "--data-root", str(arguments.data_root), "--out", str(out), *options]
    for name in ("jobs", "limit_tasks"):
        if (given := getattr(arguments, name)) is not None:
            words += [f"--{name.replace('_', '-')}", str(given)]
    for setting in arguments.set:
        words += ["--set", setting]
    done = subprocess.run([sys.executable, "-m", "clsuite", *words], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


def _nine(seeds: int) -> list[str]:
    methods = ",".join(f"'{name}'={method}" for name, method in NINE.items())
    return ["--methods", methods, "--seeds", ",".join(str(seed) for seed in range(seeds))]


def counts_below(folder: Path) -> dict[tuple[str, int], Any]:
    """The counts of all records, by method and seed."""
    records = [json.loads(path.read_text("utf-8")) for path in folder.rglob("seed*.json")]
    return {(record["method"], record["seed"]): record["counts"] for record in records}
