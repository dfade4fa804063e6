"""Which figures the tables show at once, which on request, and in what order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from clsuite.board.model import Benchmark
from clsuite.metrics import LAST, MTIL, PRIMARY, Column
from clsuite.report.probe_columns import is_probe
from clsuite.report.summary import Figure

FORGETTING = "forgetting_max_before_last"
ACCURACIES = (LAST, PRIMARY, "average_incremental_accuracy_weighted", FORGETTING)
COSTS = ("stored_bytes", "trainable_parameters", "gradient_samples", "train_seconds")
WORST = "worst_order"
"""The column with the smallest value of the headline over orders."""
SHOWN = 6
"""Number of columns that are shown at once."""


def retentions(columns: Sequence[Column]) -> list[Column]:
    """The probes of retained knowledge: those for which higher is better."""
    return [column for column in columns if is_probe(column) and column.higher_is_better]


def table_columns(benchmark: Benchmark) -> list[Column]:
    """The headline, other accuracies, what is kept of the pre-training, and costs; then all others."""
    kept = [column.name for column in retentions(benchmark.metrics)]
    probes = [column.name for column in benchmark.metrics if is_probe(column)]
    accuracies = MTIL if benchmark.kind == "cross_domain" else ACCURACIES
    names = (benchmark.headline, WORST, *accuracies, *kept[:1], *COSTS, *probes)
    order = {name: position for position, name in enumerate(dict.fromkeys(names))}
    return sorted(benchmark.metrics, key=lambda column: order.get(column.name, len(order)))


def first_columns(benchmark: Benchmark) -> list[Column]:
    """The columns that are shown at once."""
    return table_columns(benchmark)[:SHOWN]


def extra_columns(benchmark: Benchmark) -> Collection[str]:
    """Names of the columns that are shown only on request."""
    return {column.name for column in table_columns(benchmark)[SHOWN:]}


def with_worst_order(benchmark: Benchmark) -> Benchmark:
    """The benchmark with a column of its headline in the worst order, if a row has several orders.

    Rows of one order have no value there, since it would not be that of the worst of several.
    """
    spreads = [row.figures[benchmark.headline].spread for row in benchmark.rows]
    if not any(spreads):
        return benchmark
    headline = next(column for column in benchmark.metrics if column.name == benchmark.headline)
    about = f"The smallest over orders, each with its mean over seeds, of: {headline.label}."
    column = replace(headline, name=WORST, label=f"{headline.label}, worst order", formula="", source="", about=about)
    compared = [spread.minimum for row, spread in zip(benchmark.rows, spreads, strict=True) if spread and not row.bound]
    rows = []
    for row, spread in zip(benchmark.rows, spreads, strict=True):
        value = spread.minimum if spread else None
        best = bool(compared) and not row.bound and value == max(compared) > min(compared)
        figure = Figure(mean=value, half=None, low=None, high=None, values=(), best=best)
        rows.append(row.model_copy(update={"figures": {**row.figures, WORST: figure}}))
    return benchmark.model_copy(update={"rows": rows, "metrics": [*benchmark.metrics, column]})
