"""The table of scalar metrics: what each is called, how it is computed, and in which direction it is better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from clsuite.metrics import variants
from clsuite.metrics.counts import Counts


@dataclass(frozen=True)
class Metric:
    """A named scalar variant.

    Attributes:
        name: Exact name, as in records and CSV files.
        label: Short column heading.
        formula: The formula in the notation of `clsuite.metrics.variants`.
        source: Paper or library that defines this variant.
        higher_is_better: Direction.
        compute: The pure function.
    """

    name: str
    label: str
    formula: str
    source: str
    higher_is_better: bool
    compute: Callable[[Counts], float]


PRIMARY = "final_accuracy_macro"
"""The metric that methods are ranked and compared by."""
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            PRIMARY,
            "final acc. (macro)",
            "mean_j A[T-1,j]",
            "Lopez-Paz & Ranzato 2017; Mammoth",
            True,
            variants.final_accuracy_macro,
        ),
        Metric(
            "final_accuracy_weighted",
            "last acc. (weighted)",
            "sum_j n[j] A[T-1,j] / sum_j n[j]",
            "Avalanche; PILOT, RanPAC, FeCAM, SLCA",
            True,
            variants.final_accuracy_weighted,
        ),
        Metric(
            "average_incremental_accuracy_weighted",
            "avg. inc. acc.",
            "mean_i (sum_{j<=i} n[j] A[i,j] / sum_{j<=i} n[j])",
            "Rebuffi et al. 2017; PILOT",
            True,
            variants.average_incremental_accuracy_weighted,
        ),
        Metric(
            "average_incremental_accuracy_macro",
            "avg. inc. acc. (macro)",
            "mean_i mean_{j<=i} A[i,j]",
            "Mammoth",
            True,
            variants.average_incremental_accuracy_macro,
        ),
        Metric(
            "forgetting_max_before_last",
            "forgetting",
            "mean_{j<T-1} (max_{j<=i<T-1} A[i,j] - A[T-1,j])",
            "Chaudhry et al. 2018",
            False,
            variants.forgetting_max_before_last,
        ),
        Metric(
            "forgetting_max_any_row",
            "forgetting (max any row)",
            "mean_{j<T-1} (max_{i>=j} A[i,j] - A[T-1,j])",
            "Mammoth; PILOT",
            False,
            variants.forgetting_max_any_row,
        ),
        Metric(
            "forgetting_just_after",
            "forgetting (just after)",
            "mean_{j<T-1} (A[j,j] - A[T-1,j])",
            "Avalanche",
            False,
            variants.forgetting_just_after,
        ),
        Metric(
            "backward_transfer",
            "BWT",
            "mean_{j<T-1} (A[T-1,j] - A[j,j])",
            "Lopez-Paz & Ranzato 2017; Avalanche",
            True,
            variants.backward_transfer,
        ),
        Metric(
            "forward_transfer",
            "FWT",
            "mean_{j>=1} (A[j-1,j] - A[-1,j])",
            "Lopez-Paz & Ranzato 2017; Avalanche",
            True,
            variants.forward_transfer,
        ),
        Metric(
            "learning_accuracy",
            "learning acc.",
            "mean_j A[j,j]",
            "Riemer et al. 2019",
            True,
            variants.learning_accuracy,
        ),
        Metric(
            "mtil_transfer",
            "Transfer",
            "mean_{j>=1} mean_{i<j} A[i,j]",
            "Zheng et al. 2023 (ZSCL)",
            True,
            variants.mtil_transfer,
        ),
        Metric("mtil_average", "Avg", "mean_j mean_i A[i,j]", "Zheng et al. 2023 (ZSCL)", True, variants.mtil_average),
        Metric("mtil_last", "Last", "mean_j A[T-1,j]", "Zheng et al. 2023 (ZSCL)", True, variants.mtil_last),
    )
}


def compute_all(counts: Counts) -> dict[str, float]:
    """Compute every registered metric of one run."""
    return {name: metric.compute(counts) for name, metric in METRICS.items()}
