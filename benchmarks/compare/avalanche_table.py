"""Writes the table of clsuite's methods beside Avalanche's strategies, from the records of one of the benchmarks here.

Run as ``clsuite bench benchmarks/compare/avalanche.yaml`` and then ``python benchmarks/compare/avalanche_table.py
runs/avalanche --write docs/how-to/avalanche.md``, which replaces what stands between its marks in the page.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clsuite.errors import UserError
from clsuite.metrics import PRIMARY, compute_all
from clsuite.metrics.interval import mean_interval
from clsuite.records import RunRecord, read_record

THEIRS = " (Avalanche)"
STREAMS = {
    "avalanche": "the quickstart's stream",
    "avalanche_domains": "the digits of four sources, one source after another",
}
"""What the records' benchmarks are streams of, in words."""
PAIRS = (
    ("finetune", "Naive"),
    ("replay", "Replay"),
    ("replay with a reservoir", "Replay"),
    ("ewc", "EWC"),
    ("ewc", "EWC with 16 times the weight"),
    ("lwf", "LwF"),
    ("agem", "AGEM"),
    ("der++", "DER"),
    ("gdumb", "GDumb"),
    ("icarl", "ICaRL"),
    ("fecam", "FeCAM"),
    ("lda", "StreamingLDA"),
)
"""clsuite's methods and Avalanche's strategies for the same idea, in the order of the table."""


@dataclass(frozen=True)
class Figures:
    """The results of a method.

    Attributes:
        accuracy: Final accuracy in percent by seed.
        samples: Samples with a gradient in the stream, the mean over seeds.
        stored: Bytes that are kept, of the first seed.
    """

    accuracy: Mapping[int, float]
    samples: float
    stored: int


def figures_of(records: Sequence[RunRecord]) -> dict[str, Figures]:
    """The results of each method among finished records."""
    found: dict[str, list[RunRecord]] = {}
    for record in records:
        if record.status == "done":
            found.setdefault(record.method, []).append(record)
    return {method: _figures(sorted(same, key=lambda record: record.seed)) for method, same in found.items()}


def _figures(records: Sequence[RunRecord]) -> Figures:
    cost = records[0].cost
    samples = [sum(task.gradient_samples for task in record.tasks) for record in records]
    return Figures(
        {record.seed: 100 * compute_all(record.main_counts)[PRIMARY] for record in records},
        sum(samples) / len(samples),
        sum(cost.stored_bytes.values()) if cost else 0,
    )


def tables(figures: Mapping[str, Figures], stream: str) -> str:
    """The table of methods that both have, and that of strategies that only Avalanche has, if there are any."""
    seeds = sorted({seed for one in figures.values() for seed in one.accuracy})
    lines = [
        f"Final accuracy in percent (mean over tasks) on {stream}, mean ± 95 % interval over the seeds "
        f"{', '.join(map(str, seeds))}. The difference is paired by seed, and **bold** if its interval excludes 0.",
        "",
        "| clsuite | | Avalanche | | difference | gradient samples | stored |",
        "|---|--:|---|--:|--:|--:|--:|",
    ]
    for ours, theirs in PAIRS:
        one, other = figures.get(ours), figures.get(theirs + THEIRS)
        if one and other:
            costs = f"{one.samples:,.0f} / {other.samples:,.0f} | {_bytes(one.stored)} / {_bytes(other.stored)}"
            lines.append(
                f"| {ours} | {_mean(one.accuracy.values())} | {theirs} | {_mean(other.accuracy.values())} "
                f"| {difference(one, other)} | {costs} |"
            )
    return "\n".join(lines + _only_theirs(figures))


def _only_theirs(figures: Mapping[str, Figures]) -> list[str]:
    lines = ["", "| Avalanche, not compared here | | gradient samples | stored |", "|---|--:|--:|--:|"]
    for name in sorted(figures):
        theirs = name.removesuffix(THEIRS)
        if theirs != name and theirs not in {paired for _, paired in PAIRS}:
            one = figures[name]
            lines.append(f"| {theirs} | {_mean(one.accuracy.values())} | {one.samples:,.0f} | {_bytes(one.stored)} |")
    return lines if len(lines) > 3 else []


def difference(one: Figures, other: Figures) -> str:
    """Avalanche's accuracy minus clsuite's, over the seeds that both have."""
    both = [other.accuracy[seed] - one.accuracy[seed] for seed in one.accuracy if seed in other.accuracy]
    mean, half = mean_interval(both)
    text = f"{mean:+.1f}" if math.isnan(half) else f"{mean:+.1f} ± {half:.1f}"
    return f"**{text}**" if abs(mean) > half else text


def _mean(values: object) -> str:
    mean, half = mean_interval(list(values))  # type: ignore[call-overload]
    return f"{mean:.1f}" if math.isnan(half) else f"{mean:.1f} ± {half:.1f}"


def _bytes(size: int) -> str:
    return "-" if not size else f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def marks(benchmark: str) -> tuple[str, str]:
    """The lines of a page between which the table of a benchmark stands."""
    return f"<!-- table {benchmark}: begin -->", f"<!-- table {benchmark}: end -->"


def replaced(page: str, table: str, benchmark: str) -> str:
    """The page with another table between the marks of a benchmark.

    Raises:
        UserError: If it has no such marks.
    """
    first, last = marks(benchmark)
    before, begin, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if not (begin and end):
        raise UserError(f"the page has no lines '{first}' and '{last}', between which the table is written")
    return f"{before}{first}\n{table}\n{last}{after}"


def main() -> None:
    """Read the command line, and print or write the table."""
    parser = argparse.ArgumentParser(description="The table of clsuite's methods beside Avalanche's strategies.")
    parser.add_argument("runs", type=Path, help="folder of the records of a benchmark of benchmarks/compare")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="page in which the table is replaced")
    arguments = parser.parse_args()
    records = [read_record(path) for path in sorted(arguments.runs.glob("*/seed*.json"))]
    if not records:
        parser.error(f"there are no records in {arguments.runs}: run the benchmark first")
    benchmark = records[0].benchmark
    table = tables(figures_of(records), STREAMS.get(benchmark, benchmark))
    if arguments.write is None:
        print(table)
    else:
        arguments.write.write_text(replaced(arguments.write.read_text("utf-8"), table, benchmark), "utf-8")


if __name__ == "__main__":
    main()
