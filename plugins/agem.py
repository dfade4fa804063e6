"""Averaged gradient episodic memory (A-GEM)."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.data.buffer import ExemplarBuffer, exemplar_capacity, make_buffer
from clsuite.learner.learner import Learner
from clsuite.plugin import Plugin, Traits, check_range
from clsuite.scenarios import Scenario, Task


class AGEM(Plugin):
    """Projects the gradient so that the mean loss of the exemplars does not rise.

    Chaudhry et al., "Efficient lifelong learning with A-GEM" (ICLR 2019), equation 11: where the gradient g and the
    exemplars' gradient r point apart (g·r < 0), g becomes ``g - (g·r / r·r) r``. A task's samples are offered to the
    reservoir at its end, over all tasks; the paper gives every task the same number of places. g is the gradient of
    all losses of the method, before other plugins mask it.

    Args:
        capacity: Exemplars kept; null where `capacity_bytes` is given. (Paper, CIFAR-100: 1,300; 500 is the default of
            all plugins that keep exemplars.)
        capacity_bytes: Bytes kept instead.
        batch_size: Exemplars that r is computed on (paper: 256 on CIFAR-100); all where fewer are stored.
    """

    traits = Traits(
        memory=("exemplars",),
        incompatible_with={"all data": "joint training has all data already"},
        paper="Chaudhry, ICLR 2019 (A-GEM)",
        lends=True,
    )

    def __init__(self, capacity: int | None = 500, capacity_bytes: int | None = None, batch_size: int = 256) -> None:
        super().__init__()
        check_range("agem", at_least=1, batch_size=batch_size)
        exemplar_capacity(capacity, capacity_bytes, 1, "agem")
        self._capacity, self._capacity_bytes, self._batch_size = capacity, capacity_bytes, batch_size
        self.buffer = ExemplarBuffer(0, "reservoir")

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Make the buffer."""
        self.buffer = make_buffer(
            "agem",
            "reservoir",
            self._capacity,
            self._capacity_bytes,
            image_shape=scenario.table.images.shape[1:],
            classes=len(scenario.classes),
        )

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Begin the task's own draws."""
        self._draws = torch.Generator().manual_seed(learner.generator("agem").initial_seed())

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Project the gradient where it hurts the exemplars."""
        assert isinstance(pl_module, Learner)
        if not len(self.buffer):
            return
        moved = [parameter for parameter in pl_module.parameters() if parameter.grad is not None]
        gradient = torch.cat([parameter.grad.flatten() for parameter in moved if parameter.grad is not None])
        reference = self._reference(pl_module, moved)
        overlap = torch.dot(gradient, reference)
        if overlap >= 0:
            return
        gradient = gradient - overlap / torch.dot(reference, reference) * reference
        for parameter, part in zip(moved, gradient.split([p.numel() for p in moved]), strict=True):
            parameter.grad = part.view_as(parameter)

    def _reference(self, learner: Learner, parameters: list[torch.nn.Parameter]) -> Tensor:
        chosen = self.buffer.sample_indices(self._batch_size, self._draws)
        step = learner.rehearse(self.buffer.batch(chosen, with_images=not learner.uses_cached_features))
        loss = F.cross_entropy(step.logits.float(), step.batch.labels)
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        learner.gradient_samples += len(chosen)
        return torch.cat([gradient.flatten() for gradient in gradients])

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Offer the task's samples to the buffer."""
        indices = torch.from_numpy(task.train)
        self.buffer.add(learner.images_of, learner.labels_of(task.train).cpu(), indices, self._draws)

    def stored_bytes(self) -> dict[str, int]:
        """The exemplars."""
        return {"exemplars": self.buffer.bytes}

    def state_dict(self) -> dict[str, Any]:
        """The buffer."""
        return self.buffer.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The buffer."""
        self.buffer.load_state_dict(state_dict)
