"""Adapters of which some blocks have several: routers mix them, and descriptors know what each has been trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from clsuite.peft.adapter import Bottleneck
from clsuite.peft.adaptformer import AdaptFormer
from clsuite.peft.base import PET
from clsuite.peft.blocks import transformer_blocks
from clsuite.peft.route import Route


class Descriptor(nn.Module):
    """A linear autoencoder of features; how large its errors usually are says whether a feature is a known one.

    Attributes:
        mean: Of its errors on what it was trained on.
        deviation: Their standard deviation.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int, code: int, generator: torch.Generator) -> None:
        """Create it with PyTorch's first values of linear layers, drawn from the generator."""
        super().__init__()
        self.down, self.up = drawn_linear(width, code, generator), drawn_linear(code, width, generator)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))

    def forward(self, features: Tensor) -> Tensor:
        """Mean squared error ``[B]`` of each feature ``[B, width]``."""
        errors: Tensor = (self.up(self.down(features)) - features).square().mean(dim=1)
        return errors

    def know(self, errors: Tensor) -> None:
        """Take errors for the usual ones."""
        self.mean.copy_(errors.mean())
        self.deviation.copy_(errors.std(correction=0))

    def surprise(self, features: Tensor) -> Tensor:
        """Mean over features ``[B, width]`` of how many deviations an error is away from the usual ones."""
        scores: Tensor = (self(features) - self.mean).abs() / self.deviation.clamp(min=1e-12)
        return scores.mean()


class Expert(nn.Module):
    """An adapter of an expandable block, with its router and its descriptor."""

    def __init__(self, width: int, bottleneck: int, code: int, scale: float, generator: torch.Generator) -> None:
        """Create the three; the adapter adds nothing yet."""
        super().__init__()
        self.adapter = bottleneck_of(width, bottleneck, scale, generator)
        self.router = drawn_linear(width, 1, generator)
        self.descriptor = Descriptor(width, code, generator)


class Mixture(nn.Module):
    """The experts of a block, mixed by the softmax of their routers' answers to the mean token of an image.

    Attributes:
        experts: In the order in which they were added.
        features: Mean tokens ``[B, width]`` of the last pass.
    """

    features: Tensor

    def __init__(self) -> None:
        """Have no expert yet."""
        super().__init__()
        self.experts = nn.ModuleList()

    def weights(self, features: Tensor) -> Tensor:
        """What each expert counts, ``[B, experts]``, by mean tokens ``[B, width]``; each row sums to 1."""
        answers = [expert.router(features) for expert in self._of()]
        return torch.cat(answers, dim=1).float().softmax(dim=1)

    def forward(self, tokens: Tensor, route: Route | None = None) -> Tensor:
        """What the experts add to tokens ``[B, N, width]``."""
        features = tokens.mean(dim=1)
        self.features = features.detach()
        weights = self.weights(features).to(tokens.dtype)
        added = torch.stack([expert.adapter(tokens) for expert in self._of()], dim=1)
        return (weights[:, :, None, None] * added).sum(dim=1)

    @property
    def newest(self) -> Expert:
        """The expert that was added last."""
        return [*self._of()][-1]

    def surprise(self) -> float:
        """How new the images of the last pass are to the expert that knows them best, in deviations."""
        return min(float(expert.descriptor.surprise(self.features.float())) for expert in self._of())

    def _of(self) -> Iterable[Expert]:
        return (expert for expert in self.experts if isinstance(expert, Expert))


class AdapterMixture(AdaptFormer):
    """An adapter beside the MLP of each block, and a growing mixture of them in some blocks."""

    def __init__(
        self,
        model: nn.Module,
        expandable: Sequence[int],
        bottleneck: int,
        code: int,
        scale: float,
        generator: torch.Generator,
    ) -> None:
        """Create an adapter for each block; expandable ones get their first expert by `add`.

        Args:
            model: The network; it is not modified.
            expandable: Numbers of the blocks that can have several.
            bottleneck: Number of hidden units of an adapter.
            code: Length of a descriptor's code.
            scale: What an adapter's output is multiplied with.
            generator: Source of the first values.
        """
        PET.__init__(self)
        found = transformer_blocks(model)
        self._blocks = tuple(range(len(found)))
        self._width = int(found[0].attn.qkv.in_features)
        self._bottleneck, self._code, self._scale = bottleneck, code, scale
        self.parts = nn.ModuleDict(
            {
                str(number): Mixture()
                if number in expandable
                else bottleneck_of(self._width, bottleneck, scale, generator)
                for number in self._blocks
            }
        )

    @property
    def mixtures(self) -> Mapping[int, Mixture]:
        """Those of expandable blocks, by number."""
        return {int(number): part for number, part in self.parts.items() if isinstance(part, Mixture)}

    def add(self, number: int, generator: torch.Generator) -> Expert:
        """Give a block another expert."""
        mixture = self.mixtures[number]
        expert = Expert(self._width, self._bottleneck, self._code, self._scale, generator)
        mixture.experts.append(expert)
        return expert


def bottleneck_of(width: int, size: int, scale: float, generator: torch.Generator) -> Bottleneck:
    """An adapter with ReLU that adds nothing yet."""
    return Bottleneck(width, size, generator, activation=nn.functional.relu, scale=scale)


def drawn_linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer with PyTorch's first values, of which nothing is drawn from the global generator."""
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        for value in layer.parameters():
            value.uniform_(-(inputs**-0.5), inputs**-0.5, generator=generator)
    return layer
