"""Is the worst order found? A search that may see 15 orders, against all 90 of a small stream.

All ordered splits of six digits into three tasks of two are run for ncm, lora and replay.

    python benchmarks/orders.py run --out DIR --runs 40        # at most 40 runs that are not done yet; resumes
    python benchmarks/orders.py collect --out DIR              # the scores of all runs into benchmarks/orders.json
    python benchmarks/orders.py report                         # the figures into the page docs/order_search.md

Each run is a record of clsuite like any other, made in this process, one after another.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneOut, cross_val_predict

from clsuite.api.bench import do_plans
from clsuite.data.digits import list_digits
from clsuite.data.manifest import Pixels
from clsuite.metrics import METRICS, PRIMARY
from clsuite.report.export import markdown_lines
from clsuite.runner.bench import scan_results
from clsuite.runner.options import ORDER_STARTS, BenchOptions
from clsuite.runner.orders import drawn_order, listed_order
from clsuite.runner.plan import Planner, RunPlan
from clsuite.runner.spec import BenchmarkSpec
from clsuite.tuning.class_similarity import class_similarity
from clsuite.tuning.order_search import Floats, OrderSearch, Split, number_of_splits, split_of, task_of

DIGITS = 6
IMAGES = {False: 40, True: 60}
"""Images of each digit, for training and for testing; few, so that a run takes two seconds."""
METHODS = ("ncm", "lora", "replay")
BUDGET = BenchOptions().order_budget
POINT = 0.01 + 1e-9
DRAWN = 20
"""Number of drawn orders; each three in a row are the starts of a search."""
DATA = Path(__file__).with_name("orders.json")
PAGE = Path(__file__).parents[1] / "docs" / "order_search.md"
FIGURES, END = "<!-- figures -->", "<!-- end -->"
"""Between them the page has the table."""


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
    replay = {"replay": {"capacity": 30, "buffer": "class_balanced"}}
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


def collect(out: Path, page: Path) -> None:
    """Write the scores of all runs, the similarity of the classes and the drawn orders into one file."""
    planner, plans = planned(out)
    spec = planner.bound.spec
    drawn = planner.plans([drawn_order(spec.scenario, number) for number in range(DRAWN)], METHODS[:1])
    scores: dict[str, dict[str, float]] = {}
    for method in METHODS:
        done = scan_results(plans[method], print).done
        records = [done[plan.record_path] for plan in plans[method] if plan.record_path in done]
        scores[method] = {
            "".join(record.scenario.classes): METRICS[PRIMARY].compute(record.main_counts) for record in records
        }
    content = {
        "drawn": ["".join(plan.pending.scenario.classes) for plan in drawn],
        "similarity": class_similarity(drawn[0]).tolist(),
        "scores": scores,
    }
    page.write_text(json.dumps(content, indent=1) + "\n")


@dataclass(frozen=True)
class Scores:
    """What is known of all orders.

    Attributes:
        similarity: Similarity of the classes.
        drawn: Splits of drawn orders, from which searches begin.
        methods: For each method the final accuracy of each split.
    """

    similarity: Floats
    drawn: list[Split]
    methods: dict[str, dict[Split, float]]

    @classmethod
    def read(cls, path: Path) -> Scores:
        """Read what `collect` has written."""
        content = json.loads(path.read_text())
        methods = {name: {_split(text): value for text, value in of.items()} for name, of in content["scores"].items()}
        return cls(np.array(content["similarity"]), [_split(text) for text in content["drawn"]], methods)

    def search(self, method: str, first: int = 0) -> OrderSearch:
        """The search of a method, from three of the drawn orders: the first ones, as in ``--orders extreme``."""
        known = self.methods[method]
        search = OrderSearch(self.similarity, self.drawn[first : first + ORDER_STARTS], BUDGET)
        while asked := search.ask():
            for split in asked:
                search.tell(split, known[split])
        return search


def _split(text: str) -> Split:
    return split_of([int(letter) for letter in text], (2,) * (len(text) // 2))


def gaps(scores: Scores, method: str, first: int = 0) -> tuple[float, float]:
    """How far the worst and the best found are from the true ones, as fractions."""
    search, true = scores.search(method, first), scores.methods[method].values()
    worst, best = search.found("worst"), search.found("best")
    assert worst is not None
    assert best is not None
    return search.scores[worst] - min(true), max(true) - search.scores[best]


def chance(values: Sequence[float]) -> float:
    """The probability that so many random orders as a search may see have one within a point of the worst."""
    near = sum(value - min(values) <= POINT for value in values)
    return 1 - comb(len(values) - near, BUDGET) / comb(len(values), BUDGET)


def predicted(known: Mapping[Split, float]) -> float:
    """The share of the variance of the orders' scores that is predicted for each order by all the others.

    By ridge regression on the task of each class, which of two classes is first, which are together, and which are
    together at the end. A search sees 15 orders, this all but one: what it does not predict, no search can.

    Returns:
        The coefficient of determination; below 0 where the mean of the others predicts more.
    """
    tasks, scores = np.array([task_of(split) for split in known]), np.array(list(known.values()))
    first, second = np.triu_indices(DIGITS, 1)
    relations = np.sign(tasks[:, second] - tasks[:, first])
    ends = (relations == 0) & (tasks[:, first] == tasks.max())
    places = np.eye(tasks.max() + 1)[tasks].reshape(len(tasks), -1)
    inputs = np.concatenate([places, relations, relations == 0, ends], axis=1)
    guesses = cross_val_predict(Ridge(), inputs, scores, cv=LeaveOneOut())
    return float(1 - np.square(scores - guesses).sum() / np.square(scores - scores.mean()).sum())


def neighbors(known: Mapping[Split, float]) -> float:
    """The correlation of the scores of two orders that are one exchange of two classes apart."""
    tasks, scores = np.array([task_of(split) for split in known]), np.array(list(known.values()))
    one, other = np.nonzero((tasks[:, None] != tasks).sum(axis=2) == 2)
    away = (scores - scores.mean()) / scores.std()
    return float((away[one] * away[other]).mean())


def report(page: Path) -> str:
    """The table of the figures, as Markdown."""
    scores = Scores.read(page)
    head = ["method", "min", "median", "max", "worst found", "best found", "of other starts", "by chance"]
    head += ["predicted", "neighbors"]
    lines = []
    for method, known in scores.methods.items():
        if len(known) < number_of_splits([2] * (DIGITS // 2)):
            continue  # not all of its orders have been run
        values = list(known.values())
        worst, best = gaps(scores, method)
        others = [gaps(scores, method, first)[0] <= POINT for first in range(1, len(scores.drawn) - ORDER_STARTS + 1)]
        ends = [f"{100 * value:.1f}" for value in (min(values), median(values), max(values))]
        found = [f"{100 * (min(values) + worst):.1f}", f"{100 * (max(values) - best):.1f}"]
        lines.append([method, *ends, *found, f"{sum(others)} of {len(others)}", f"{100 * chance(values):.0f} %"])
        lines[-1] += [f"{predicted(known):.2f}", f"{neighbors(known):.2f}"]
    return "\n".join(markdown_lines(head, lines))


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "collect", "report"))
    parser.add_argument("--out", type=Path, default=Path("runs/orders"), help="folder of the runs")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--runs", type=int, default=DRAWN**3, help="largest number of runs of this call")
    given = parser.parse_args()
    if given.command == "run":
        run(given.out, given.methods.split(","), given.runs)
    elif given.command == "collect":
        collect(given.out, DATA)
    else:
        before, _, rest = PAGE.read_text().partition(FIGURES)
        PAGE.write_text(f"{before}{FIGURES}\n{report(DATA)}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
