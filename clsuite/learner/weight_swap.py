"""Weights that are kept and given back: swapped for an evaluation, or the pre-trained ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from clsuite.learner.learner import Learner
from clsuite.private_api import batch_norm_class


def normalizations_of(model: nn.Module, names: Collection[str]) -> dict[str, Any]:
    """The batch normalizations, by name, that own any of the named parameters of a model."""
    owners = {name.rpartition(".")[0] for name in names}
    kind = batch_norm_class()
    return {name: part for name, part in model.named_modules() if name in owners and isinstance(part, kind)}


def statistics_of(model: nn.Module, names: Collection[str]) -> dict[str, Tensor]:
    """Running means and variances, by name, of the batch normalizations that own any of the named parameters."""
    owners = normalizations_of(model, names)
    buffers = ((f"{name}.{key}", value) for name, part in owners.items() for key, value in part.named_buffers())
    return {name: value for name, value in buffers if value.is_floating_point()}


class WeightSwap:
    """Keeps copies of parameters from a task's end until the next task.

    Of a batch normalization it keeps the running statistics too, as they may change with its parameters. Features that
    were computed by other values are forgotten.
    """

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._kept: dict[str, Tensor] = {}

    @torch.no_grad()
    def replace(self, learner: Learner, values: Mapping[str, Tensor]) -> None:
        """Give named parameters, or running statistics, other values and keep those that they had."""
        present = {**dict(learner.named_parameters()), **dict(learner.named_buffers())}
        kept: dict[str, Tensor] = {name: present[name] for name in values}
        for name, part in normalizations_of(learner, values.keys()).items():
            kept |= {f"{name}.{key}": value for key, value in part.named_buffers()}
        self._kept = {name: value.detach().clone() for name, value in kept.items()}
        for name, value in values.items():
            present[name].copy_(value)
        self._forget(learner)

    @torch.no_grad()
    def restore(self, learner: Learner) -> None:
        """Give the parameters back what they had."""
        present = {**dict(learner.named_parameters()), **dict(learner.named_buffers())}
        for name, value in self._kept.items():
            present[name].copy_(value)
        self._forget(learner)
        self._kept = {}

    def _forget(self, learner: Learner) -> None:
        if any(not name.startswith("head.") for name in self._kept):
            learner.store.clear()


class PretrainedState:
    """The backbone as it was before the stream."""

    def __init__(self, learner: Learner) -> None:
        """Keep a copy of the backbone's state."""
        self._backbone: dict[str, Tensor] = {
            name: value.detach().clone() for name, value in learner.backbone.state_dict().items()
        }

    def restore(self, learner: Learner) -> None:
        """Give the learner the pre-trained backbone, an untrained head for its classes and an optimizer without state.

        What an optimizer that is carried on knows of the last task belongs to the weights that are gone.
        """
        learner.backbone.load_state_dict(self._backbone)
        learner.optimizer_policy.forget()
        learner.head.reset(learner.generator("joint head"))
