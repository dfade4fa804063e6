"""Metrics: pure functions of the stored counts. Nothing here needs torch."""

from clsuite.metrics.counts import Counts
from clsuite.metrics.interval import mean_interval
from clsuite.metrics.registry import METRICS, Metric, compute_all

__all__ = ["METRICS", "Counts", "Metric", "compute_all", "mean_interval"]
