"""The cross-entropy with a margin for the true class."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from clsuite.data.columns import TARGETS, WEIGHTS
from clsuite.learner.learner import Learner
from clsuite.learner.loss import classification_loss
from clsuite.learner.step import Step


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
    assert learner.task is not None
    labels, columns = step.batch.labels, step.batch.columns
    logits = step.logits - scale * margin * F.one_hot(labels, step.logits.shape[1])
    more = columns.get(WEIGHTS), columns.get(TARGETS), learner.options.label_smoothing
    return classification_loss(logits, labels, learner.options.loss, learner.task.classes, *more)
