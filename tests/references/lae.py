"""LAE with adapters: an online module learns, an offline one follows it slowly, both answer together.

Gao et al., "A unified continual learning framework with general parameter-efficient tuning" (ICCV 2023), and the
authors' training loop (gqk/LAE, ``main.py``).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from references.common import Head, Stream, accuracy, adam, attend, batches, bundled, linear, pooled, step, tokens


class Adapter(nn.Module):
    """A bottleneck beside the attention, with a learned scale."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.down, self.up, self.scale = nn.Linear(width, size), nn.Linear(size, width), nn.Parameter(torch.ones(1))
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.scale * self.up(F.gelu(self.down(x)))
        return added


def features(model: Any, adapters: nn.ModuleList, images: Tensor) -> Tensor:
    x = tokens(model, images)
    for block, adapter in zip(model.blocks, adapters, strict=True):
        normed = block.norm1(x)
        x = x + attend(block.attn, *block.attn.qkv(normed).chunk(3, dim=2)) + adapter(normed)
        x = x + block.mlp(block.norm2(x))
    return pooled(model, x)


def curve(
    stream: Stream,
    seed: int,
    *,
    size: int = 5,
    frozen_epochs: int = 3,
    decay: float = 0.95,
    epochs: int = 5,
    batch_size: int = 32,
    lr: float = 0.003,
    head_lr: float = 0.003,
    head_std: float = 0.001,
) -> list[float]:
    """Accuracy over the seen classes after each task."""
    torch.manual_seed(seed)
    model = bundled().eval().requires_grad_(False)
    online = nn.ModuleList(Adapter(192, size) for _ in model.blocks)
    offline, head, results = copy.deepcopy(online), Head(), []

    def answer(images: Tensor) -> Tensor:
        experts = [online] if len(head) == 1 else [online, offline]
        return torch.stack([head(features(model, expert, images)).softmax(dim=1) for expert in experts]).amax(dim=0)

    for task, rows, old, seen in stream.tasks():
        head.append(linear(192, seen - old, head_std))
        optimizer = adam(online.parameters(), lr, head, head_lr)
        if task == 1:
            offline = copy.deepcopy(online).requires_grad_(False)
        for epoch, chosen in batches(rows, batch_size, epochs):
            online.requires_grad_(task == 0 or epoch >= frozen_epochs)
            logits = head(features(model, online, stream.images[chosen]))[:, old:]
            step(optimizer, F.cross_entropy(logits, stream.labels[chosen] - old))
            if task > 0:
                with torch.no_grad():
                    for slow, fast in zip(offline.parameters(), online.parameters(), strict=True):
                        slow.mul_(decay).add_(fast, alpha=1 - decay)
        results.append(accuracy(answer, stream, task))
    return results
