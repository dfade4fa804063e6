"""Is the worst order found? A search that may see 15 orders, against all 90 of a small stream.

All ordered splits of six digits into three tasks of two are run for ncm, lora and replay.

    python benchmarks/orders.py run --out DIR --runs 40        # at most 40 runs that are not done yet; resumes
    python benchmarks/orders.py report --out DIR               # the figures, as the page docs/orders.md has them

Each run is a record of clsuite like any other, made in this process, one after another.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image

from clsuite.api.bench import do_plans
from clsuite.data.digits import list_digits
from clsuite.data.manifest import Pixels
from clsuite.runner.bench import scan_results
from clsuite.runner.options import BenchOptions
from clsuite.runner.orders import listed_order
from clsuite.runner.plan import Planner, RunPlan
from clsuite.runner.spec import BenchmarkSpec

DIGITS = 6
IMAGES = {False: 16, True: 30}
"""Images of each digit, for training and for testing; few, so that a run takes about a second."""
METHODS = ("ncm", "lora", "replay")


def write_images(folder: Path) -> None:
    """Write the first images of each of six digits as an image folder with its own test part."""
    listed = list_digits()
    assert isinstance(listed.source, Pixels)
    for digit in range(DIGITS):
        for is_test, number in IMAGES.items():
            place = folder / ("test" if is_test else "train") / str(digit)
            place.mkdir(parents=True, exist_ok=True)
            for row in np.flatnonzero((listed.labels == digit) & (listed.is_test == is_test))[:number]:
                Image.fromarray(listed.source.images[row]).save(place / f"{row:04d}.png")


def benchmark() -> BenchmarkSpec:
    """The stream, the bundled backbone, and methods with so few steps that all orders can be run."""
    lora = {"plugins": ["pet"], "training": {"loss": "local", "epochs": 5, "optimizer": {"lr": 0.003}}}
    replay = {"plugins": [{"replay": {"capacity": 6, "buffer": "class_balanced"}}], "training": {"epochs": 2}}
    return BenchmarkSpec.model_validate({
        "name": "six_digits",
        "title": "Six handwritten digits, two in each of three tasks, in all orders",
        "dataset": {"name": "image_folder", "path": "six_digits"},
        "scenario": {"kind": "class_incremental", "tasks": 3},
        "backbone": {"name": "omniglot_vit", "weights": "bundled", "image_size": 32},
        "training": {"batch_size": 16, "precision": "32", "optimizer": {"lr": 0.0005, "head_lr": 0.003}},
        "seeds": [0],
        "methods": {"ncm": "ncm", "lora": lora, "replay": replay},
    })  # fmt: skip


def all_orders() -> Iterator[tuple[str, ...]]:
    """All ordered splits of six digits into three pairs: 6! / 2^3 = 90; within a pair in their own order."""
    digits = [str(digit) for digit in range(DIGITS)]
    for first in combinations(digits, 2):
        rest = [digit for digit in digits if digit not in first]
        for second in combinations(rest, 2):
            yield (*first, *second, *(digit for digit in rest if digit not in second))


def planned(out: Path) -> tuple[Planner, dict[str, list[RunPlan]]]:
    """The runs of each method, one for each order."""
    images = out / "six_digits"
    if not images.is_dir():
        write_images(images)
    spec = benchmark()
    planner = Planner.of(spec, Path(), BenchOptions(out=out / "runs", data_root=out, device="cpu", debug=True))
    streams = [listed_order(spec.scenario, order) for order in all_orders()]
    return planner, {method: planner.plans(streams, [method]) for method in METHODS}


def run(out: Path, methods: Sequence[str], at_most: int) -> None:
    """Do the next runs that are not done."""
    planner, plans = planned(out)
    assert isinstance(planner.options, BenchOptions)
    missing = [plan for method in methods for plan in scan_results(plans[method], print).missing]
    for number, plan in enumerate(missing[:at_most], 1):
        record = do_plans([plan], planner.options, planner.bound.spec, progress=False)[plan.record_path]
        print(f"{number} of {len(missing)}: {plan.name}: {record.seconds:.1f} s", flush=True)
        if record.status != "done":
            raise SystemExit(record.error)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "report"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--runs", type=int, default=10_000, help="largest number of runs of this call")
    given = parser.parse_args()
    run(given.out, given.methods.split(","), given.runs)


if __name__ == "__main__":
    main()
