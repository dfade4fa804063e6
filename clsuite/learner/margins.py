"""The benchmark's cross-entropy of other logits than the head's, and the one with a margin for the true class."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from clsuite.data.columns import TARGETS, WEIGHTS
from clsuite.learner.learner import Learner
from clsuite.learner.loss import classification_loss
from clsuite.learner.step import Step


def step_loss(learner: Learner, step: Step, logits: Tensor) -> Tensor:
    """The benchmark's cross-entropy of a step, of given logits: its competing classes, weights, soft labels, smoothing.

    Args:
        learner: The learner, within a task.
        step: The step.
        logits: ``[B, C]`` in place of the step's own.

    Returns:
        A scalar.
    """
    assert learner.task is not None
    labels, columns, options = step.batch.labels, step.batch.columns, learner.options
    more = columns.get(WEIGHTS), columns.get(TARGETS), options.label_smoothing
    return classification_loss(logits, labels, options.loss, learner.task.classes, *more)


def cosface_loss(learner: Learner, step: Step, scale: float, margin: float) -> Tensor | None:
    """The benchmark's cross-entropy of scaled cosines, of which the true class's has a margin taken off (CosFace).

    Wang et al., "CosFace: large margin cosine loss for deep face recognition" (CVPR 2018). What `Plugin.classification`
    returns, in a method whose cosine head has a fixed scale.

    Args:
        learner: The learner, within a task.
        step: The step.
        scale: The head's scale.
        margin: Of cosines.

    Returns:
        A scalar; None without a margin, where it is the usual cross-entropy.
    """
    if not margin:
        return None
    return step_loss(learner, step, step.logits - scale * margin * F.one_hot(step.batch.labels, step.logits.shape[1]))
