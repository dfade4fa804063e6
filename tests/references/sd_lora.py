"""SD-LoRA: a low-rank direction on queries and values for each task, and one magnitude for each direction.

Wu et al., "SD-LoRA: scalable decoupled low-rank adaptation for class incremental learning" (ICLR 2025), and the
authors' code (WuYichen-97/SD-Lora-CL, ``backbone/lora.py``): finished directions are divided by the product of the
norms of B and A, the current one is not, and all magnitudes begin at 0.8 in each task.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from references.common import Head, Stream, accuracy, adam, attend, batches, bundled, linear, pooled, step, tokens


class LowRank(nn.Module):
    """B A x, and once it is finished B A x / (|B| |A|)."""

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, rank, bias=False), nn.Linear(rank, width, bias=False)
        nn.init.zeros_(self.up.weight)
        self.finished = False

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.up(self.down(x))
        return added / (self.up.weight.norm() * self.down.weight.norm()) if self.finished else added


def features(model: Any, tasks: nn.ModuleList, magnitudes: list[nn.Parameter], images: Tensor) -> Tensor:
    x = tokens(model, images)
    for number, block in enumerate(model.blocks):
        normed = block.norm1(x)
        q, k, v = block.attn.qkv(normed).chunk(3, dim=2)
        for magnitude, pairs in zip(magnitudes, tasks, strict=True):
            query, value = pairs[2 * number], pairs[2 * number + 1]
            q, v = q + magnitude * query(normed), v + magnitude * value(normed)
        x = x + attend(block.attn, q, k, v)
        x = x + block.mlp(block.norm2(x))
    return pooled(model, x)


def curve(
    stream: Stream,
    seed: int,
    *,
    rank: int = 10,
    first: float = 0.8,
    epochs: int = 5,
    batch_size: int = 32,
    lr: float = 0.003,
    head_lr: float = 0.003,
    head_std: float = 0.001,
) -> list[float]:
    """Accuracy over the seen classes after each task."""
    torch.manual_seed(seed)
    model = bundled().eval().requires_grad_(False)
    tasks, head, results = nn.ModuleList(), Head(), []
    for task, rows, old, seen in stream.tasks():
        for pair in tasks[-1] if task else ():
            pair.requires_grad_(False)
            pair.finished = True
        tasks.append(nn.ModuleList(LowRank(192, rank) for _ in range(2 * len(model.blocks))))
        magnitudes = [nn.Parameter(torch.tensor(first)) for _ in tasks]
        head.append(linear(192, seen - old, head_std))
        optimizer = adam([*tasks[-1].parameters(), *magnitudes], lr, head, head_lr)
        for _, chosen in batches(rows, batch_size, epochs):
            logits = head(features(model, tasks, magnitudes, stream.images[chosen]))[:, old:]
            step(optimizer, F.cross_entropy(logits, stream.labels[chosen] - old))
        results.append(accuracy(lambda images, s=magnitudes: head(features(model, tasks, s, images)), stream, task))
    return results
