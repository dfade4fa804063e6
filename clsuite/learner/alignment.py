"""Classifier alignment: training the head alone, on features drawn from the Gaussians of all classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsuite.errors import UserError
from clsuite.learner.class_gaussians import ClassGaussians
from clsuite.learner.head import Head
from clsuite.learner.learner import Learner
from clsuite.learner.precision import full_precision

LogitsOf = Callable[[Head, Tensor], Tensor]
"""Logits ``[B, classes]`` of a head and features ``[B, d]``."""


@dataclass(frozen=True)
class AlignmentSettings:
    """How a head is aligned; SGD with a half cosine of its epochs.

    Attributes:
        lr: Learning rate at the start.
        epochs: Number of epochs.
        samples: Features drawn of each Gaussian in an epoch.
        batch_size: Features of a batch; by default as many as `samples`.
        batches: Largest number of batches of an epoch, for codes that use a part of what they draw; all by default.
        momentum: Of SGD; by default that of the training (``training.optimizer.momentum``), as in all codes.
        weight_decay: Of SGD.
        period: Epochs until the cosine is at zero; by default all of them.
    """

    lr: float = 1e-2
    epochs: int = 5
    samples: int = 256
    batch_size: int | None = None
    batches: int | None = None
    momentum: float | None = None
    weight_decay: float = 5e-4
    period: int | None = None


def align_head(
    learner: Learner,
    gaussians: ClassGaussians,
    settings: AlignmentSettings,
    generator: torch.Generator,
    *,
    logits: LogitsOf | None = None,
    factors: Tensor | None = None,
    groups: Sequence[int] | None = None,
) -> None:
    """Train the learner's head on features drawn from Gaussians, by the cross-entropy over the seen classes.

    Drawn features are not images, and not counted among the gradient samples. Parts of the head that were frozen are
    trained too, and frozen again; a scale that is not trained stays.

    Args:
        learner: The learner.
        gaussians: Of all classes that shall compete.
        settings: How it is trained.
        generator: Source of the features and their order.
        logits: The logits that are trained, such as `task_normalized`; by default those that the head gives.
        factors: As of `ClassGaussians.sampler`, such as `nearness`.
        groups: The groups of the head that are trained, as of `Head.freeze`; all by default.
    """
    head, answer = learner.head, logits or plain_logits
    with _trained(head, groups) as parameters:

        def scores(features: Tensor) -> Tensor:
            return answer(head, features)[:, : learner.seen]

        train_on_drawn(learner, parameters, scores, gaussians, settings, generator, factors)


def train_on_drawn(
    learner: Learner,
    parameters: Sequence[nn.Parameter],
    scores: Callable[[Tensor], Tensor],
    gaussians: ClassGaussians,
    settings: AlignmentSettings,
    generator: torch.Generator,
    factors: Tensor | None = None,
) -> None:
    """Train some parameters on features drawn from Gaussians, by the cross-entropy.

    Args:
        learner: The learner, for its device and the momentum of its training.
        parameters: What is trained.
        scores: Logits of features, by label.
        gaussians: As of `align_head`, like all that follow.
        settings: How it is trained.
        generator: Source of the features and their order.
        factors: What the means are multiplied with.
    """
    draw, device = gaussians.sampler(factors), learner.device
    momentum = learner.options.optimizer.momentum if settings.momentum is None else settings.momentum
    optimizer = torch.optim.SGD(parameters, lr=settings.lr, momentum=momentum, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.period or settings.epochs)
    for _ in range(settings.epochs):
        features, labels = draw(settings.samples, generator)
        order = torch.randperm(len(labels), generator=generator)
        for chosen in order.split(settings.batch_size or settings.samples)[: settings.batches]:
            loss = F.cross_entropy(scores(features[chosen].to(device)), labels[chosen].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    optimizer.zero_grad()


@contextmanager
def _trained(head: Head, groups: Sequence[int] | None) -> Iterator[list[nn.Parameter]]:
    """Let groups of a head, and a scale that is trained, have gradients, and nothing else of it, for a while."""
    before = [(value, value.requires_grad) for value in head.parameters()]
    in_groups = {id(value) for number in range(len(head.sizes)) for value in head.group_parameters(number)}
    chosen = [value for value, trained in before if trained and id(value) not in in_groups]
    for number in range(len(head.sizes)) if groups is None else groups:
        chosen += head.group_parameters(number)
    head.requires_grad_(False)
    for value in chosen:
        value.requires_grad_(True)
    try:
        yield chosen
    finally:
        for value, trained in before:
            value.requires_grad_(trained)


def check_alignable(name: str, learner: Learner) -> None:
    """Refuse a head that has no weights of its own, or does not grow by the classes of each task.

    Args:
        name: The plugin's.
        learner: The learner.

    Raises:
        UserError: If its head cannot be aligned.
    """
    if learner.options.head == "zero_shot":
        raise UserError(f"{name}: training.head must be linear or cosine: a zero_shot head cannot be aligned")
    if learner.options.head_classes != "seen":
        raise UserError(f"{name}: training.head_classes must be seen: the older classes' part of the head rests")


def head_values(learner: Learner) -> dict[str, Tensor]:
    """Copies of all values of the head, by their names in the learner, as `WeightSwap.replace` takes them."""
    return {f"head.{name}": value.detach().clone() for name, value in learner.head.named_parameters()}


def nearness(sizes: Sequence[int], least: float) -> Tensor:
    """Factor of each class's mean (SLCA): it grows in equal steps with the task, to 1 for the newest one.

    Args:
        sizes: Number of classes of each task, as in ``learner.head.sizes``.
        least: Where it begins, one step before the first task (SLCA's code: 0.9).
    """
    tasks = torch.arange(1, len(sizes) + 1).repeat_interleave(torch.tensor(sizes))
    return least + (1 - least) * tasks / len(sizes)


def reversed_nearness(sizes: Sequence[int], least: float) -> Tensor:
    """Factor of each class's mean as in TUNA's code, where a class's task is its number over *minus* the task size.

    Rounded down, that is 0 for the first class, -1 for the next as many as a task has, and so on: all factors but the
    first are ``least`` or smaller, and those of newer classes smaller still.

    Args:
        sizes: Number of classes of each task, as in ``learner.head.sizes``; the last one is the divisor.
        least: What the factors are near to (code: 0.9).
    """
    tasks = torch.div(torch.arange(sum(sizes)), -sizes[-1], rounding_mode="floor")
    return least + (1 - least) * (tasks + 1) / len(sizes)


def plain_logits(head: Head, features: Tensor) -> Tensor:
    """What the head gives: of a cosine head whose scale was fixed, that scale times the cosines."""
    answer: Tensor = head(features)
    return answer


def task_normalized(temperature: float = 0.1) -> LogitsOf:
    """Logits divided by the mean over tasks of the norm of a task's logits, and by a temperature (SLCA, equation 5)."""

    def logits(head: Head, features: Tensor) -> Tensor:
        return normalized(head(features), head.sizes) / temperature

    return logits


def normalized(logits: Tensor, sizes: Sequence[int]) -> Tensor:
    """Logits divided by the mean over tasks of the norm of a task's logits; `sizes` are the tasks' classes."""
    norms = torch.stack([part.norm(dim=1) for part in logits.split(list(sizes), dim=1)])
    return logits / (norms.mean(dim=0)[:, None] + 1e-7)


def scaled_cosine(scale: float) -> LogitsOf:
    """A fixed scale times the cosines of features and class weights, whatever the head's own scale is."""

    def logits(head: Head, features: Tensor) -> Tensor:
        weights = torch.cat([head.group_parameters(number)[0] for number in range(len(head.sizes))])
        with full_precision(features):
            return scale * F.linear(F.normalize(features.float(), dim=1), F.normalize(weights, dim=1))

    return logits
