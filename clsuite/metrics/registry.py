"""The metrics of a run: name, description, formula, function and direction of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from clsuite.metrics import variants
from clsuite.metrics.column import Column
from clsuite.metrics.counts import Counts

NOTATION = (
    "In formulas, A[i,j] is the accuracy on test part j after task i, A[-1,j] the one before any training, n[j] the "
    "number of its images, T the number of tasks. Where tasks come back or share classes, A[j,j] is the accuracy just "
    "after part j was learned for the first time."
)


@dataclass(frozen=True)
class Metric(Column):
    """A named metric: a column that is computed from the counts of a single run.

    Attributes:
        compute: The function that computes it.
    """

    higher_is_better: bool = True
    compute: Callable[[Counts], float] = field(kw_only=True)


PRIMARY = "final_accuracy_macro"
"""The metric by which methods are compared."""
LAST = "final_accuracy_weighted"
"""What papers on class-incremental learning call last accuracy; boards of such streams are ranked by it."""
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            PRIMARY,
            "final acc. (macro)",
            "mean_j A[T-1,j]",
            "Lopez-Paz & Ranzato 2017; Mammoth",
            True,
            "Accuracy after the last task: the mean over all test parts, each with the same weight whatever its "
            "number of images.",
            compute=variants.final_accuracy_macro,
        ),
        Metric(
            LAST,
            "last acc. (weighted)",
            "sum_j n[j] A[T-1,j] / sum_j n[j]",
            "Avalanche; PILOT, RanPAC, FeCAM, SLCA",
            True,
            "Accuracy after the last task on all test images together, so that a larger part has more weight. Most "
            "class-incremental papers call this last accuracy: compare this column with their figures.",
            compute=variants.final_accuracy_weighted,
        ),
        Metric(
            "average_incremental_accuracy_weighted",
            "avg. inc. acc.",
            "mean_i (sum_{j<=i} n[j] A[i,j] / sum_{j<=i} n[j])",
            "Rebuffi et al. 2017; PILOT",
            True,
            "Accuracy after each task on all test images of what has been learned so far: the mean over the tasks.",
            compute=variants.average_incremental_accuracy_weighted,
        ),
        Metric(
            "average_incremental_accuracy_macro",
            "avg. inc. acc. (macro)",
            "mean_i mean_{j<=i} A[i,j]",
            "Mammoth",
            True,
            "Mean accuracy after each task on the test parts learned so far, each with the same weight: the mean "
            "over the tasks.",
            compute=variants.average_incremental_accuracy_macro,
        ),
        Metric(
            "performance_drop",
            "PD",
            "A[0,0] - sum_j n[j] A[T-1,j] / sum_j n[j]",
            "Zhang et al. 2021 (CEC); few-shot class-incremental learning",
            False,
            "How far the accuracy on all classes after the last task is below that of the first task just after it, "
            "on all test images together: few-shot class-incremental papers report it for their sessions.",
            compute=variants.performance_drop,
        ),
        Metric(
            "forgetting_max_before_last",
            "forgetting",
            "mean_{j<T-1} (max_{j<=i<T-1} A[i,j] - A[T-1,j])",
            "Chaudhry et al. 2018",
            False,
            "How far the accuracy on earlier parts has fallen at the end from its highest since they were learned: "
            "the mean over those parts.",
            compute=variants.forgetting_max_before_last,
        ),
        Metric(
            "forgetting_max_any_row",
            "forgetting (max any row)",
            "mean_{j<T-1} (max_{i>=j} A[i,j] - A[T-1,j])",
            "Mammoth; PILOT",
            False,
            "How far the accuracy on earlier parts has fallen at the end from its highest since they were learned, "
            "the end included: the mean over those parts, never below zero.",
            compute=variants.forgetting_max_any_row,
        ),
        Metric(
            "forgetting_just_after",
            "forgetting (just after)",
            "mean_{j<T-1} (A[j,j] - A[T-1,j])",
            "Avalanche",
            False,
            "How far the accuracy on earlier parts has fallen at the end from what it was just after they were "
            "learned: the mean over those parts.",
            compute=variants.forgetting_just_after,
        ),
        Metric(
            "backward_transfer",
            "BWT",
            "mean_{j<T-1} (A[T-1,j] - A[j,j])",
            "Lopez-Paz & Ranzato 2017; Avalanche",
            True,
            "Change of the accuracy on earlier parts from just after they were learned to the end; below zero it is "
            "forgetting.",
            compute=variants.backward_transfer,
        ),
        Metric(
            "forward_transfer",
            "FWT",
            "mean_{j>=1} (A[j-1,j] - A[-1,j])",
            "Lopez-Paz & Ranzato 2017; Avalanche",
            True,
            "Accuracy on a part just before it is learned, minus that before any training: the mean over the parts "
            "after the first. A dash if no part can be predicted before it is learned, as in class-incremental "
            "streams.",
            compute=variants.forward_transfer,
        ),
        Metric(
            "learning_accuracy",
            "learning acc.",
            "mean_j A[j,j]",
            "Riemer et al. 2019",
            True,
            "Accuracy on each part just after it was learned: the mean over the parts.",
            compute=variants.learning_accuracy,
        ),
        Metric(
            "mtil_transfer",
            "Transfer",
            "mean_{j>=1} mean_{i<j} A[i,j]",
            "Zheng et al. 2023 (ZSCL)",
            True,
            "Accuracy on parts that have not been learned yet: the mean over the tasks before each. Zero by "
            "construction if the head grows with the classes.",
            compute=variants.mtil_transfer,
        ),
        Metric(
            "mtil_average",
            "Avg",
            "mean_j mean_i A[i,j]",
            "Zheng et al. 2023 (ZSCL)",
            True,
            "Accuracy on all parts after every task: the mean of the whole matrix.",
            compute=variants.mtil_average,
        ),
        Metric(
            "mtil_last",
            "Last",
            "mean_j A[T-1,j]",
            "Zheng et al. 2023 (ZSCL)",
            True,
            "Accuracy on all parts after the last task.",
            compute=variants.mtil_last,
        ),
    )
}
TASK_AWARE = "task_aware_final_accuracy_macro"
INTRANSIGENCE = "intransigence"
MTIL = ("mtil_transfer", "mtil_average", "mtil_last")
"""The metrics by which sequences of data sets are judged (ZSCL, X-TAIL)."""
_ALIKE = "Comparable only on the same machine and precision: a row whose runs used several combinations has none."
COLUMNS: dict[str, Column] = {
    column.name: column
    for column in (
        *METRICS.values(),
        Column(
            TASK_AWARE,
            "task-aware acc.",
            higher_is_better=True,
            about="Accuracy after the last task if the task of each test image is given: only its classes compete.",
        ),
        Column(
            INTRANSIGENCE,
            "intransigence",
            "mean_j (A*[j,j] - A[j,j]), A* of joint training",
            "Chaudhry et al. 2018",
            higher_is_better=False,
            about="How far the accuracy on a part just after it was learned is below that of joint training, with the "
            "same seed, on the data of all tasks up to that moment; negative if it is above. Computed over the seeds "
            "for which there is joint training.",
        ),
        Column(
            "trainable_parameters",
            "trained",
            higher_is_better=False,
            about="Number of parameters that are trained by gradient in one task: the maximum over the tasks.",
            unit="parameters",
        ),
        Column(
            "stored_bytes",
            "stored",
            higher_is_better=False,
            about="Memory that the method keeps from task to task: exemplars, modules, statistics, old weights, ...",
            unit="bytes",
        ),
        Column(
            "gradient_samples",
            "gradient samples",
            higher_is_better=False,
            about="Number of images in backward passes of the training, over all tasks; an image counts each time. It "
            "does not depend on the machine.",
            unit="samples",
        ),
        Column(
            "train_seconds",
            "training s",
            higher_is_better=False,
            about=f"Training time in seconds, over all tasks. {_ALIKE}",
            unit="seconds",
        ),
        Column(
            "eval_seconds",
            "evaluation s",
            higher_is_better=False,
            about=f"Evaluation time in seconds, over all tasks. {_ALIKE}",
            unit="seconds",
        ),
    )
}
"""The columns of every run: the metrics, and values that are not computed from its main counts."""


OPEN_VOCABULARY: dict[str, Column] = {
    f"open_vocabulary_{name}": Column(
        f"open_vocabulary_{name}",
        f"{METRICS[name].label} (all names)",
        METRICS[name].formula,
        "Xu et al. 2024 (RAIL, X-TAIL)",
        higher_is_better=True,
        about=f"{METRICS[name].about.split('. ')[0].rstrip('.')}, with all classes of the stream competing from the "
        "start, learned or not. Only for methods that predict classes by their names.",
    )
    for name in MTIL
}
"""Columns of runs with counts over all names."""


def open_vocabulary_values(counts: Counts) -> dict[str, float]:
    """Compute the columns `OPEN_VOCABULARY` from the counts over all names."""
    return {f"open_vocabulary_{name}": METRICS[name].compute(counts) for name in MTIL}


def compute_all(counts: Counts) -> dict[str, float]:
    """Compute every registered metric of one run."""
    return {name: metric.compute(counts) for name, metric in METRICS.items()}
