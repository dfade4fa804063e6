"""A network whose last of two blocks has experts: adapters that routers mix, with descriptors of what they know."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from references.common import pooled, tokens
from references.ease import AdaptFormer


class Adapter(AdaptFormer):
    """Not scaled, and nothing is dropped."""

    def forward(self, x: Tensor) -> Tensor:
        return self.up(F.relu(self.down(x)))


class Expert(nn.Module):
    """An adapter, its router, and its descriptor with the errors that it remembers."""

    def __init__(self, width: int, size: int, code: int) -> None:
        super().__init__()
        self.adapter, self.router = Adapter(width, size), nn.Linear(width, 1)
        self.down, self.up = nn.Linear(width, code), nn.Linear(code, width)
        self.known = torch.zeros(0)

    def descriptor(self) -> list[Tensor]:
        return [*self.down.parameters(), *self.up.parameters()]

    def errors(self, means: Tensor) -> Tensor:
        return (self.up(self.down(means)) - means).square().mean(dim=1)


def features(model: Any, first: Adapter, experts: list[Expert], images: Tensor) -> tuple[Tensor, Tensor]:
    """Features, and the mean tokens in front of the last block's MLP."""
    x = tokens(model, images)
    x = x + model.blocks[0].attn(model.blocks[0].norm1(x))
    x = x + model.blocks[0].mlp(model.blocks[0].norm2(x)) + first(x)
    x = x + model.blocks[1].attn(model.blocks[1].norm1(x))
    means = x.mean(dim=1)
    shares = torch.cat([one.router(means) for one in experts], dim=1).softmax(dim=1)
    added = sum(share[:, None, None] * one.adapter(x) for share, one in zip(shares.T, experts, strict=True))
    return pooled(model, x + model.blocks[1].mlp(model.blocks[1].norm2(x)) + added), means
