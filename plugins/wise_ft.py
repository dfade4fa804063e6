"""Interpolation of weights before and after a task (WiSE-FT)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from clsuite.plugin import Learner, Plugin, Scenario, Task, Traits, UserError, check_range
from clsuite.plugin.helpers import statistics_of, tensor_bytes


class WiSEFT(Plugin):
    """After each task the backbone becomes a mean of its weights before and after.

    Wortsman et al., "Robust fine-tuning of zero-shot models" (CVPR 2022), equation 1:
    ``(1 - alpha) * theta_0 + alpha * theta_1``. The next task starts from the mean. Running statistics of batch
    normalization are averaged like weights.

    The paper averages the classifier too: its theta_0 is the zero-shot classifier, made from CLIP's text features. A
    growing head has no theta_0, because new classes have no earlier weights, and keeps its trained weights. With
    ``training: {head: zero_shot}`` the classifier is computed by the text tower at each evaluation, and the trained
    weights of the text tower are averaged with the rest.

    Args:
        alpha: Weight of the trained weights (paper: 0.5 where it is not tuned; ZSCL's comparison on MTIL: 0.8).
        anchor: theta_0: ``previous`` (the weights at the task's start, as in ZSCL's comparison) or ``pretrained``.
    """

    traits = Traits(
        memory=("weights",),
        incompatible_with={
            "all data": "joint training starts from the pre-trained weights at each task",
            "freezes_backbone": "the backbone is frozen: its weights before and after a task are the same",
            "modules": "the backbone is frozen: its weights before and after are the same",
        },
        paper="Wortsman, CVPR 2022 (WiSE-FT)",
        effects=("changes weights",),
    )

    def __init__(self, alpha: float = 0.5, anchor: Literal["previous", "pretrained"] = "previous") -> None:
        super().__init__()
        check_range("wise_ft", at_least=0, at_most=1, alpha=alpha)
        self.alpha, self.anchor = alpha, anchor
        self._before: dict[str, Tensor] = {}

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Copy the pre-trained weights."""
        self._keep(learner)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Copy the weights before the task.

        Raises:
            UserError: If the backbone is frozen.
        """
        if learner.frozen:
            raise UserError("wise_ft: the backbone is frozen: its weights before and after a task are the same")
        if self.anchor == "previous":
            self._keep(learner)

    def _keep(self, learner: Learner) -> None:
        self._before = {name: value.detach().clone() for name, value in averaged(learner.backbone).items()}

    @torch.no_grad()
    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Average the weights (equation 1)."""
        for name, value in averaged(learner.backbone).items():
            value.copy_(torch.lerp(self._before[name].to(value.device), value, self.alpha))

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the weights that were copied."""
        return {"weights": tensor_bytes(self._before)}


def averaged(backbone: nn.Module) -> dict[str, Tensor]:
    """Parameters and running statistics, by name."""
    parameters = dict(backbone.named_parameters())
    return {**parameters, **statistics_of(backbone, parameters)}
