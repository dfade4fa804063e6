"""Which figures the tables show at once, which on request, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clsuite.board.model import Metric
from clsuite.board.site.text import direction, unit_text
from clsuite.metrics import PRIMARY
from clsuite.report.summary import CHANGE, PROBE

ACCURACIES = (PRIMARY, "final_accuracy_weighted", "average_incremental_accuracy_weighted", "forgetting_max_before_last")
COSTS = ("trainable_parameters", "stored_bytes", "gradient_samples", "train_seconds")


@dataclass(frozen=True)
class Column:
    """A column of a table: its metric, its heading's marks, and whether it is shown only on request."""

    metric: Metric
    arrow: str
    meaning: str
    unit: str
    extra: bool


def is_probe(metric: Metric) -> bool:
    """Whether the metric is the last reading of a probe."""
    return metric.name.startswith(PROBE) and not metric.name.endswith(CHANGE)


def retentions(metrics: Sequence[Metric]) -> list[Metric]:
    """The probes that show how much of earlier knowledge is left: those where more is better."""
    return [metric for metric in metrics if is_probe(metric) and metric.higher_is_better]


def table_columns(metrics: Sequence[Metric]) -> list[Column]:
    """Accuracies, probes (retention, calibration) and costs, then all others."""
    known = {metric.name: metric for metric in metrics}
    probes = [metric.name for metric in metrics if is_probe(metric)]
    main = [name for name in (*ACCURACIES, *probes, *COSTS) if name in known]
    return [_column(known[name], False) for name in main] + [
        _column(metric, True) for metric in metrics if metric.name not in main
    ]


def _column(metric: Metric, extra: bool) -> Column:
    arrow, meaning = direction(metric)
    return Column(metric, arrow, meaning, unit_text(metric), extra)
