"""What every figure is, in plain words: the one place that tooltips, legends and tables take their texts from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

TASK_AWARE = "task_aware_final_accuracy_macro"
INTRANSIGENCE = "intransigence"
NOTATION = (
    "In formulas, A[i,j] is the accuracy on test part j after task i, A[-1,j] the one before any training, n[j] the "
    "number of its images, T the number of tasks. Where tasks come back or share classes, A[j,j] is the accuracy just "
    "after part j was learned for the first time."
)
ALIKE = "Comparable on one kind of machine and precision alone: a row whose runs are of several has none."
DESCRIPTIONS: dict[str, str] = {
    "final_accuracy_macro": "Accuracy after the last task: the mean over all test parts, every part alike however many "
    "images it has. Rows are ranked by it.",
    "final_accuracy_weighted": "Accuracy after the last task on all test images together, so that a large part weighs "
    "more: what most class-incremental papers call last accuracy. It is the figure to hold against theirs.",
    "average_incremental_accuracy_weighted": "Accuracy after each task on the test images of all that was learned so "
    "far: the mean over the tasks.",
    "average_incremental_accuracy_macro": "Mean accuracy after each task on the test parts learned so far, every part "
    "alike: the mean over the tasks.",
    "forgetting_max_before_last": "How far the accuracy on earlier parts has fallen at the end from its highest since "
    "they were learned: the mean over those parts.",
    "forgetting_max_any_row": "How far the accuracy on earlier parts has fallen at the end from its highest since they "
    "were learned, the end included: the mean over those parts, never below zero.",
    "forgetting_just_after": "How far the accuracy on earlier parts has fallen at the end from what it was just after "
    "they were learned: the mean over those parts.",
    "backward_transfer": "Change of the accuracy on earlier parts from just after they were learned to the end; below "
    "zero it is forgetting.",
    "forward_transfer": "Accuracy on a part just before it is learned, less that before any training: the mean over "
    "the parts after the first. A dash where no part could be answered before it was learned, as in class-incremental "
    "streams.",
    "learning_accuracy": "Accuracy on each part just after it was learned: the mean over the parts.",
    "mtil_transfer": "Accuracy on parts that are not learned yet: the mean over the tasks before each. Zero by "
    "construction where the head grows with the classes.",
    "mtil_average": "Accuracy on all parts after every task: the mean of the whole matrix.",
    "mtil_last": "Accuracy on all parts after the last task.",
    TASK_AWARE: "Accuracy after the last task if the task of each test image were told: its classes alone compete.",
    INTRANSIGENCE: "How far the accuracy on a part just after it was learned stays below that of joint training, with "
    "the same seed, on the data of all tasks up to that moment; below zero where it is above. Over the seeds that "
    "joint training has too.",
    "trainable_parameters": "Parameters that gradients train in one task, the most over the tasks.",
    "stored_bytes": "What the method keeps from task to task, such as exemplars, modules, statistics, old weights.",
    "gradient_samples": "Images that passed backwards in training, over all tasks; an image counts each time. It does "
    "not depend on the machine.",
    "train_seconds": f"Seconds of training, over all tasks. {ALIKE}",
    "eval_seconds": f"Seconds of the evaluations, after all tasks. {ALIKE}",
    "min_accuracy": "Lowest accuracy on each earlier part since its task ended: the mean over those parts.",
    "worst_case_accuracy": "Final accuracy on the last task and the lowest on each earlier one, all alike.",
    "average_anytime_accuracy": "Accuracy on the parts learned so far at every moment of training: the mean over all.",
    "area_under_exposed_accuracy": "Accuracy on the test images of all classes met so far, over the images of the "
    "stream: the area under that curve.",
    "stability_gap_depth": "How far the accuracy on earlier parts falls while a new task is learned.",
    "stability_gap_length": "Steps of a new task until the accuracy on earlier parts has recovered.",
}
"""What each figure but those of the probes is."""
FORMULAS = {INTRANSIGENCE: ("mean_j (A*[j,j] - A[j,j]), A* of joint training", "Chaudhry et al. 2018")}
"""Formula and source of figures that are no function of one run."""


@dataclass(frozen=True)
class Description:
    """What a probe reads: its heading, and what it is in plain words.

    Attributes:
        formula: Empty where the words say it all.
        source: Of the formula.
        changes: Whether its change since before the stream is news: a distance from then is that change itself.
    """

    label: str
    about: str
    formula: str = ""
    source: str = ""
    changes: bool = True


KINDS = {
    "head": ("pre-trained head", "Accuracy, after the last task, of the head that the backbone was pre-trained with, "
             "on images of the pre-training's classes: how much of that knowledge is left."),
    "knn": ("k-NN accuracy", "Accuracy, after the last task, of k nearest neighbors of the features on images of the "
            "pre-training's classes: how much of that knowledge is left."),
    "left_out_domains": ("left-out domains", "Accuracy, after the last task, on the domains that no task trains on."),
    "zero_shot": ("zero-shot acc.", "Zero-shot accuracy of the CLIP, after the last task, on images that the stream "
                  "need not know: how much of that knowledge is left."),
    "calibration": ("calibration error", "How far the confidence of predictions is from their accuracy, after the last "
                    "task, on the test images of the classes seen: the expected calibration error, from 0 to 1. A dash "
                    "where a method's scores are no logits."),
}  # fmt: skip
"""Heading and words of each kind of probe."""
SOURCES = {"calibration": ("sum_b n[b]/n |acc[b] - conf[b]|, b bins of the confidence", "Guo et al. 2017")}
DRIFT = (
    "How far the answers of the pre-trained head have moved since before the stream, in nats: "
    "0 where they are the same."
)


def change_meaning(meaning: Description) -> Description:
    """Of the change of a probe over the stream."""
    label = meaning.label.removeprefix("probe ")
    return Description(
        f"change of {label}",
        "The reading after the last task, less that before the stream, of the pre-trained backbone; a dash where "
        "either is one. It orders rows as the reading itself does, so no row is called the best.",
    )


def probe_meaning(name: str, known: Mapping[str, Description]) -> Description:
    """Of a reading; it is called by its name where the configuration says nothing about it.

    Args:
        name: The reading's name in records.
        known: As `probe_meanings` gives them.
    """
    return known.get(name) or Description(f"probe {name}", f"What the probe '{name}' reads after the last task.")


def probe_meanings(config: Mapping[str, Any]) -> dict[str, Description]:
    """What the probes of a run read, by the names of the readings.

    Args:
        config: Configuration of a record.
    """
    return dict(_probe_meanings(config))


def _probe_meanings(config: Mapping[str, Any]) -> Iterator[tuple[str, Description]]:
    probes = config.get("probes")
    for probe in probes if isinstance(probes, list) else []:
        kind = str(probe.get("kind")) if isinstance(probe, dict) else ""
        if kind not in KINDS:
            continue
        label, about = KINDS[kind]
        if kind == "head" and _ends_in_imagenet(config):
            label = "ImageNet head"
        name = str(probe.get("name") or kind)
        own = f"probe {name}" if name != kind else ""
        yield name, Description(own or label, about, *SOURCES.get(kind, ()))
        if kind == "head":
            drift = f"{own}_kl" if own else f"{label} drift"
            yield f"{name}_kl", Description(drift, DRIFT, "KL(before || now)", changes=False)


def _ends_in_imagenet(config: Mapping[str, Any]) -> bool:
    """Whether the tag of the backbone says that its head is of ImageNet's 1000 classes, as ``in21k_ft_in1k`` does."""
    backbone = config.get("backbone")
    tag = str(backbone.get("name", "")).partition(".")[2] if isinstance(backbone, dict) else ""
    return re.findall(r"in\d+k", tag)[-1:] == ["in1k"]
