"""Metrics: pure functions of the stored counts. Nothing here needs torch."""

from clsuite.metrics.counts import Counts
from clsuite.metrics.curves import Curves
from clsuite.metrics.interval import mean_interval
from clsuite.metrics.registry import METRICS, PRIMARY, Metric, compute_all
from clsuite.metrics.within_task import WITHIN_TASK, WithinTaskMetric

__all__ = [
    "METRICS",
    "PRIMARY",
    "WITHIN_TASK",
    "Counts",
    "Curves",
    "Metric",
    "WithinTaskMetric",
    "compute_all",
    "mean_interval",
]
