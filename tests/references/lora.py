"""One LoRA for the whole stream, trained on each task's own classes.

Hu et al., "LoRA: low-rank adaptation of large language models" (ICLR 2022), equation 3: ``W x + alpha / r B A x``, here
on queries and values with alpha = r, A as PyTorch's Linear has it and B zero (the authors' ``loralib``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from references.common import Head, Stream, accuracy, adam, attend, batches, bundled, linear, pooled, step, tokens


class LowRank(nn.Module):
    """B A x."""

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, rank, bias=False), nn.Linear(rank, width, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.up(self.down(x))
        return added


def features(model: Any, parts: nn.ModuleList, images: Tensor) -> Tensor:
    x = tokens(model, images)
    for block, (query, value) in zip(model.blocks, parts, strict=True):
        normed = block.norm1(x)
        q, k, v = block.attn.qkv(normed).chunk(3, dim=2)
        x = x + attend(block.attn, q + query(normed), k, v + value(normed))
        x = x + block.mlp(block.norm2(x))
    return pooled(model, x)


def curve(
    stream: Stream,
    seed: int,
    *,
    rank: int = 8,
    epochs: int = 5,
    batch_size: int = 32,
    lr: float = 0.003,
    head_lr: float = 0.003,
    head_std: float = 0.001,
) -> list[float]:
    """Accuracy over the seen classes after each task."""
    torch.manual_seed(seed)
    model = bundled().eval().requires_grad_(False)
    parts = nn.ModuleList(nn.ModuleList(LowRank(192, rank) for _ in range(2)) for _ in model.blocks)
    head, results = Head(), []
    for task, rows, old, seen in stream.tasks():
        head.append(linear(192, seen - old, head_std))
        optimizer = adam(parts.parameters(), lr, head, head_lr)
        for _, chosen in batches(rows, batch_size, epochs):
            logits = head(features(model, parts, stream.images[chosen]))[:, old:]
            step(optimizer, F.cross_entropy(logits, stream.labels[chosen] - old))
        results.append(accuracy(lambda images: head(features(model, parts, images)), stream, task))
    return results
