"""The model as it was at a moment, which answers without a second network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from clsuite.data.batch import Batch
from clsuite.learner.learner import Learner
from clsuite.learner.weights import weights_of


class OldModel:
    """The values that trained parameters had at a moment, and the model's answers with these.

    The network, its hooks and the modules of plugins are those of the learner. What was not trained at that moment is
    taken as it is now.

    Attributes:
        values: Parameters and running statistics by their names in the learner; empty if nothing is kept.
    """

    def __init__(self) -> None:
        """Keep nothing yet."""
        self.values: dict[str, Tensor] = {}

    def keep(self, learner: Learner) -> None:
        """Keep what is trained, as it is now."""
        self.values = weights_of(learner, trained=True)

    def forget(self) -> None:
        """Keep nothing."""
        self.values = {}

    @torch.no_grad()
    def answers(self, learner: Learner, batch: Batch) -> tuple[Tensor, Tensor]:
        """Answer to a transformed batch, in evaluation mode and in the run's precision.

        Args:
            learner: The learner.
            batch: The batch; features are looked up if it has no images.

        Returns:
            Features ``[B, width]`` and logits ``[B, C]``, both float32 and without gradient.
        """
        passes, values = _Passes(learner), {f"learner.{name}": value for name, value in self.values.items()}
        size = -(-len(batch) // learner.options.accumulate)
        with evaluating(learner), learner.autocast():
            parts = [
                functional_call(passes, values, (batch.part(slice(start, start + size)),))
                for start in range(0, len(batch), size)
            ]
        features, logits = (torch.cat(several).float() for several in zip(*parts, strict=True))
        return features, logits


class _Passes(nn.Module):
    """Features and logits of a batch, as one module whose parameters can be exchanged."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        features = self.learner.encode(batch)
        return features, self.learner.head(features)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and each of its modules back into the mode that it had.

    Args:
        model: The model.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
