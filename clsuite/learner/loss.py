"""The classification loss that every method starts from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.data.on_device import moved
from clsuite.learner.precision import full_precision


def classification_loss(
    logits: Tensor,
    labels: Tensor,
    scope: Literal["global", "local"],
    task_classes: Sequence[int],
    weights: Tensor | None = None,
    targets: Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Mean cross-entropy.

    Args:
        logits: ``[B, C]`` over all seen classes.
        labels: ``[B]`` stream labels.
        scope: ``global``: all seen classes compete. ``local``: for samples of the current task's classes only those
            compete; samples of other classes (exemplars) keep all.
        task_classes: Stream labels of the current task.
        weights: ``[B]``, what each sample's term is multiplied with before the mean; 1 by default.
        targets: ``[B, K]`` soft labels over the first K classes, in place of the labels. A sample is of the current
            task's classes where all of its soft label is.
        smoothing: Share of each target that is spread evenly over the classes that compete (Szegedy et al. 2016,
            section 7).

    Returns:
        A scalar.
    """
    inside = _competing(logits, scope, task_classes)
    if targets is not None:
        targets = F.pad(targets, (0, logits.shape[1] - targets.shape[1])).to(logits.device)
    if scope == "local":
        of_task = inside[labels] if targets is None else ~((targets > 0) & ~inside).any(dim=1)
        logits = logits.masked_fill(of_task[:, None] & ~inside, float("-inf"))
    if targets is None and weights is None and not smoothing:
        return F.cross_entropy(logits.float(), labels)
    if targets is None:
        terms = F.cross_entropy(logits.float(), labels, reduction="none")
    else:
        terms = _soft_terms(logits, targets)
    if smoothing:
        terms = (1 - smoothing) * terms + smoothing * _even_terms(logits)
    return (terms if weights is None else weights * terms).mean()


def _competing(logits: Tensor, scope: Literal["global", "local"], task_classes: Sequence[int]) -> Tensor:
    """Which classes ``[C]`` compete for samples of the current task's classes."""
    inside = torch.full((logits.shape[1],), scope == "global")
    inside[list(task_classes)] = True
    return moved(inside, logits.device)


def _soft_terms(logits: Tensor, targets: Tensor) -> Tensor:
    """The cross-entropy ``[B]`` of soft labels ``[B, C]``; classes outside have minus infinity as logits."""
    return -(targets * logits.float().log_softmax(dim=1).masked_fill(targets == 0, 0.0)).sum(dim=1)


def _even_terms(logits: Tensor) -> Tensor:
    """The cross-entropy ``[B]`` of a target that is even over the classes with finite logits."""
    competing = ~torch.isneginf(logits)
    each = logits.float().log_softmax(dim=1).masked_fill(~competing, 0.0)
    return -each.sum(dim=1) / competing.sum(dim=1)


def self_contrast(features: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of the products of features with all of them, where each is to be most like itself.

    The contrast of HiDe-Prompt and MOS, of which the first features are means of older classes.

    Args:
        features: ``[N, width]``, not normalized.
        temperature: What products are divided by.

    Returns:
        A scalar.
    """
    with full_precision(features):
        similar = features.float() @ features.float().T / temperature
    return -similar.log_softmax(dim=1).diagonal().mean()


def one_against_rest(cosines: Tensor, labels: Tensor, classes: Sequence[int], scale: float, middle: float) -> Tensor:
    """Logistic losses of each class: the mean over its own samples plus the mean over others, mean over classes.

    Args:
        cosines: ``[B, C]`` of samples and classes.
        labels: ``[B]``.
        classes: The label of each column; those without a sample are left out.
        scale: Factor of the cosines.
        middle: The cosine with a probability of one half.
    """
    answers = scale * (cosines - middle)
    own = (labels[:, None] == torch.tensor(list(classes), device=labels.device)).to(answers.dtype)
    number, others = own.sum(dim=0), (1 - own).sum(dim=0)
    terms = (F.softplus(-answers) * own).sum(dim=0) / number.clamp_min(1)
    terms = terms + (F.softplus(answers) * (1 - own)).sum(dim=0) / others.clamp_min(1)
    return terms[number > 0].sum() / (number > 0).sum().clamp_min(1)


def distillation(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """T^2 times the cross-entropy of two softmaxes, mean over samples (Hinton et al. 2015, section 2).

    Args:
        teacher: Logits ``[B, C]`` of the model that is distilled.
        student: Logits ``[B, C]`` of the one that is trained.
        temperature: What both are divided by.
    """
    targets, answers = (teacher / temperature).softmax(dim=1), student / temperature
    return temperature**2 * F.cross_entropy(answers, targets)
