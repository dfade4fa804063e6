"""Which figures the tables show at once, which on request, and in what order."""

from __future__ import annotations

from collections.abc import Sequence

from clsuite.metrics import PRIMARY, Column
from clsuite.report.probe_columns import is_probe

ACCURACIES = (PRIMARY, "final_accuracy_weighted", "average_incremental_accuracy_weighted", "forgetting_max_before_last")
COSTS = ("trainable_parameters", "stored_bytes", "gradient_samples", "train_seconds")


def retentions(columns: Sequence[Column]) -> list[Column]:
    """The probes of retained knowledge: those for which higher is better."""
    return [column for column in columns if is_probe(column) and column.higher_is_better]


def table_columns(columns: Sequence[Column]) -> list[Column]:
    """Accuracies, probes (retention, calibration) and costs first, then all others."""
    probes = [column.name for column in columns if is_probe(column)]
    order = {name: position for position, name in enumerate((*ACCURACIES, *probes, *COSTS))}
    return sorted(columns, key=lambda column: order.get(column.name, len(order)))


def is_extra(column: Column) -> bool:
    """Whether a column is shown only on request."""
    return column.name not in (*ACCURACIES, *COSTS) and not is_probe(column)
