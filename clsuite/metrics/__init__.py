"""Metrics: pure functions of the stored counts. Nothing here needs torch."""

from clsuite.metrics.column import Column
from clsuite.metrics.counts import Counts
from clsuite.metrics.curves import Curves
from clsuite.metrics.interval import mean_interval
from clsuite.metrics.registry import (
    COLUMNS,
    INTRANSIGENCE,
    LAST,
    METRICS,
    MTIL,
    NOTATION,
    OPEN_VOCABULARY,
    PRIMARY,
    TASK_AWARE,
    Metric,
    compute_all,
    open_vocabulary_values,
)
from clsuite.metrics.within_task import EXPOSED, WITHIN_TASK, WithinTaskMetric

__all__ = [
    "COLUMNS",
    "EXPOSED",
    "INTRANSIGENCE",
    "LAST",
    "METRICS",
    "MTIL",
    "NOTATION",
    "OPEN_VOCABULARY",
    "PRIMARY",
    "TASK_AWARE",
    "WITHIN_TASK",
    "Column",
    "Counts",
    "Curves",
    "Metric",
    "WithinTaskMetric",
    "compute_all",
    "mean_interval",
    "open_vocabulary_values",
]
