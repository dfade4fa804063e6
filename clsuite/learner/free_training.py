"""A phase before a task in which a method may train anything with its own loops."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from numpy.typing import NDArray
from torch import nn

from clsuite.data.augment import augment
from clsuite.data.batch import Batch, BatchLoader
from clsuite.data.stable_random import derive_seed
from clsuite.errors import UserError

if TYPE_CHECKING:
    from clsuite.learner.learner import Learner
    from clsuite.learner.tools import LearnerTools
    from clsuite.plugin.base import Plugin
    from clsuite.scenarios import Task


def train_before(learner: Learner, plugins: Sequence[Plugin], task: Task) -> bool:
    """Let plugins train freely before any of them begins a task.

    Args:
        learner: The model.
        plugins: The plugins with this hook, in order.
        task: The task.

    Returns:
        Whether there were backward passes.
    """
    if plugins:
        with anything_may_be_trained(learner, derive_seed(learner.seed, task.index, "before task training")):
            for plugin in plugins:
                plugin.before_task_training(learner, task)
    return learner.gradient_samples > 0


@contextmanager
def anything_may_be_trained(learner: LearnerTools, seed: int) -> Iterator[None]:
    """Restore everything afterwards, except for the values of the weights and new parameters.

    ``requires_grad`` of all parameters, the modes of modules, and the states of the global random generators, which are
    seeded with `seed` meanwhile, are restored. Gradients are removed, and cached features are discarded.

    Args:
        learner: The model, in training mode meanwhile.
        seed: Seed of the global generators, which dropout uses.
    """
    trained = {parameter: parameter.requires_grad for parameter in learner.parameters()}
    with modes_and_draws_restored(learner):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        learner.train()
        try:
            yield
        finally:
            for parameter in learner.parameters():
                parameter.requires_grad_(trained.get(parameter, parameter.requires_grad))
                parameter.grad = None
            learner.forget_features()


@contextmanager
def modes_and_draws_restored(model: nn.Module) -> Iterator[None]:
    """Restore the mode of each module and the states of the global random generators afterwards, even after an error.

    Args:
        model: The model.
    """
    modes = [(module, module.training) for module in model.modules()]
    isolated = isolate_rng()
    isolated.__enter__()
    try:
        yield
    finally:
        isolated.__exit__(None, None, None)  # if it knew of an error, it would restore nothing
        for module, mode in modes:
            module.training = mode


def own_batches(
    learner: LearnerTools,
    indices: NDArray[np.int64],
    batch_size: int | None,
    order: int | None,
    augmentation: int | None,
) -> Iterator[Batch]:
    """Transformed batches of samples, each once, on the compute device.

    Args:
        learner: The learner.
        indices: Indices into the table.
        batch_size: Number of samples in each batch except the last; by default that of the training.
        order: Seed of the order; None keeps the given order.
        augmentation: Seed of the augmentation; None for no augmentation.

    Raises:
        UserError: If there is a test image, or batches would be empty.
    """
    table, size = learner.scenario.table, learner.options.batch_size if batch_size is None else batch_size
    if size < 1:
        raise UserError(f"batches_of: batch_size is {size}, but must be at least 1")
    if table.is_test[indices].any():
        raise UserError("batches_of was given indices of test images: use those of task.train or task.validation")
    loader = BatchLoader(table, learner.scenario.labels, indices, size, shuffle_seed=order, device=learner.device)
    generator = None if augmentation is None else torch.Generator().manual_seed(augmentation)
    return (_transformed(learner, batch, generator) for batch in loader)


def _transformed(learner: LearnerTools, batch: Batch, generator: torch.Generator | None) -> Batch:
    batch = batch.to(learner.device)
    assert batch.images is not None
    images = batch.images if generator is None else augment(learner.options.augment, batch.images, generator)
    return batch.with_images(learner.backbone.normalize(images))
