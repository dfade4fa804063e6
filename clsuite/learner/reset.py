"""Going back to the pre-trained weights, for methods that begin anew at each task."""

from __future__ import annotations

import torch
from torch import Tensor

from clsuite.learner.learner import Learner


class PretrainedState:
    """The backbone as it was before the stream."""

    def __init__(self, learner: Learner) -> None:
        """Keep a copy of the backbone's state."""
        self._backbone: dict[str, Tensor] = {
            name: value.detach().clone() for name, value in learner.backbone.state_dict().items()
        }

    def put_back(self, learner: Learner) -> None:
        """Give the learner the pre-trained backbone, an untrained head for its classes and an optimizer without state.

        What an optimizer that is carried on knows of the last task belongs to the weights that are gone.
        """
        learner.backbone.load_state_dict(self._backbone)
        learner.optimizer_policy.forget()
        learner.head.reset(torch.Generator().manual_seed(learner.generator("joint head").initial_seed()))
