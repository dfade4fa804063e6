"""SLCA: a slow learner with classifier alignment."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.plugin import Plugin, Traits
from clsuite.scenarios import Scenario, Task


class SLCA(Plugin):
    """Trains the backbone far slower than the head, then aligns the head on features drawn from class Gaussians.

    Zhang et al., "SLCA: slow learner with classifier alignment for continual learning on a pre-trained model" (ICCV
    2023): every task trains the backbone with a hundredth of the head's learning rate; at its end mean and covariance
    of each new class's features are kept, and the head alone is trained on features drawn from the Gaussians of all
    classes seen, by a cross-entropy of logits divided by their norm times a temperature. Statistics are not updated
    when the backbone moves on: it moves slowly.

    The paper trains with SGD and the cross-entropy of the current task's classes: say ``training: {loss: local,
    optimizer: {name: sgd}}``. The two rates stand in place of the benchmark's.

    Args:
        lr: Learning rate of the backbone (authors: 1e-4).
        head_lr: Learning rate of the head, and of its alignment at the start (authors: 1e-2).
        epochs: Epochs of alignment (the facts at hand do not give the authors' number; 5).
        samples: Features drawn for each class in an epoch (likewise; 256). Batches hold as many as classes are seen,
            times 16.
        temperature: Of the normalised logits (likewise; 0.1).
    """

    traits = Traits(
        needs=("gradient",),
        stores=("statistics",),
        forbids={"all data": "joint training needs no alignment", "weights": "the head would be aligned to others"},
        scenarios=("class_incremental", "task_incremental", "long_tailed"),
        paper="Zhang, ICCV 2023 (SLCA)",
    )

    def __init__(
        self,
        lr: float = 1e-4,
        head_lr: float = 1e-2,
        epochs: int = 5,
        samples: int = 256,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        if min(lr, head_lr, temperature) <= 0 or min(epochs, samples) < 1:
            raise UserError("slca: lr, head_lr and temperature must be positive, epochs and samples at least 1")
        self.lr, self.head_lr = lr, head_lr
        self.epochs, self.samples, self.temperature = epochs, samples, temperature
        self._means, self._covariances = torch.zeros(0, 0), torch.zeros(0, 0, 0)

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Make room for the statistics.

        Raises:
            UserError: If the head has no weights of its own.
        """
        if learner.options.head == "zero_shot":
            raise UserError("slca: training.head must be linear or cosine: a zero_shot head cannot be aligned")
        width = learner.backbone.width
        self._means, self._covariances = torch.zeros(0, width), torch.zeros(0, width, width)

    def parameter_groups(self, learner: Learner) -> list[dict[str, Any]]:
        """The two rates."""
        named = [(name, value) for name, value in learner.named_parameters() if value.requires_grad]
        body = [value for name, value in named if not name.startswith("head.")]
        head = [value for name, value in named if name.startswith("head.")]
        groups = [{"params": body, "lr": self.lr}, {"params": head, "lr": self.head_lr}]
        return [group for group in groups if group["params"]]

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Describe the new classes, then align the head."""
        features, labels = learner.features_of(task.train).cpu(), learner.labels_of(task.train).cpu()
        for label in range(len(self._means), learner.head.classes):
            own = features[labels == label].double()
            away = own - own.mean(dim=0)
            covariance = away.T @ away / max(1, len(own) - 1)
            self._means = torch.cat([self._means, own.mean(dim=0, keepdim=True).float()])
            self._covariances = torch.cat([self._covariances, covariance[None].float()])
        if task.index > 0:
            self._align(learner)

    def _align(self, learner: Learner) -> None:
        generator = torch.Generator().manual_seed(learner.generator("slca").initial_seed())
        parameters = list(learner.head.parameters())
        optimizer = torch.optim.SGD(parameters, lr=self.head_lr, momentum=0.9)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs)
        roots = gaussian_roots(self._covariances)
        for _ in range(self.epochs):
            features, labels = draw_features(self._means, roots, self.samples, generator)
            for chosen in torch.randperm(len(labels), generator=generator).split(16 * len(self._means)):
                self._step(learner.head, features[chosen], labels[chosen], optimizer)
            schedule.step()
        optimizer.zero_grad()

    def _step(self, head: nn.Module, features: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer) -> None:
        device = next(head.parameters()).device
        logits = head(features.to(device))
        loss = F.cross_entropy(F.normalize(logits, dim=1) / self.temperature, labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def stored_bytes(self) -> dict[str, int]:
        """Means and covariances."""
        return {"statistics": 4 * (self._means.numel() + self._covariances.numel())}

    def state_dict(self) -> dict[str, Any]:
        """Means and covariances."""
        return {"means": self._means, "covariances": self._covariances}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Means and covariances."""
        self._means, self._covariances = state_dict["means"], state_dict["covariances"]


def gaussian_roots(covariances: Tensor) -> Tensor:
    """Lower triangular roots ``[C, d, d]`` of covariances; a ten-thousandth of the mean variance keeps them regular."""
    covariances = covariances.double()
    variance = covariances.diagonal(dim1=1, dim2=2).mean(dim=1).clamp_min(1e-8)
    eye = torch.eye(covariances.shape[1], dtype=covariances.dtype)
    return torch.linalg.cholesky(covariances + 1e-4 * variance[:, None, None] * eye).float()


def draw_features(means: Tensor, roots: Tensor, samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw features of every class.

    Args:
        means: ``[C, d]``.
        roots: ``[C, d, d]``.
        samples: Of each class.
        generator: Source of the draws.

    Returns:
        Features ``[C * samples, d]`` and labels ``[C * samples]``.
    """
    noise = torch.randn(len(means), samples, means.shape[1], generator=generator)
    drawn = means[:, None] + noise @ roots.transpose(1, 2)
    return drawn.flatten(0, 1), torch.arange(len(means)).repeat_interleave(samples)
