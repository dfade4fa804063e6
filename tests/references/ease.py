"""EASE: an adapter of each task, and prototypes in all their subspaces, synthesized where a class's images are gone.

Zhou et al., "Expandable subspace ensemble for pre-trained model-based class-incremental learning" (CVPR 2024), and the
authors' code (sun-hailong/LAMDA-PILOT, ``models/ease.py``, ``backbone/vit_ease.py``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from references.common import Stream, accuracy, adam, batches, bundled, over, pooled, step, tokens


class AdaptFormer(nn.Module):
    """A bottleneck that reads the residual stream in front of the MLP."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, size), nn.Linear(size, width)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Tensor) -> Tensor:
        return 0.1 * self.up(F.dropout(F.relu(self.down(x)), 0.1, self.training))


class Cosine(nn.Module):
    """A classifier by cosine with a learned scale."""

    def __init__(self, width: int, classes: int, scale: float) -> None:
        super().__init__()
        self.weight, self.scale = nn.Linear(width, classes, bias=False).weight, nn.Parameter(torch.tensor(scale))

    def forward(self, features: Tensor) -> Tensor:
        return self.scale * (F.normalize(features, dim=1) @ F.normalize(self.weight, dim=1).T)


def features(model: Any, adapters: nn.ModuleList, images: Tensor) -> Tensor:
    x = tokens(model, images)
    for block, adapter in zip(model.blocks, adapters, strict=True):
        x = x + block.attn(block.norm1(x))
        x = x + block.mlp(block.norm2(x)) + adapter(x)
    return pooled(model, x)


def synthesized(means: list[list[Tensor]]) -> Tensor:
    """Prototypes ``[C, T, width]``; ``means[s][t]`` holds those of task t's classes in subspace s <= t (equation 8)."""
    last, whole = len(means), []
    for task in range(last):
        known = [means[s][task] for s in range(task + 1)]
        for subspace in range(task + 1, last):
            there = torch.cat([means[subspace][t] for t in range(subspace, last)])
            here = torch.cat([means[task][t] for t in range(subspace, last)])
            known.append((F.normalize(means[task][task], dim=1) @ F.normalize(here, dim=1).T).softmax(dim=1) @ there)
        whole.append(torch.stack(known, dim=1))
    return torch.cat(whole)


def curve(
    stream: Stream,
    seed: int,
    *,
    size: int = 64,
    alpha: float = 0.1,
    scale: float = 1.0,
    epochs: int = 5,
    batch_size: int = 32,
    lr: float = 0.003,
    head_lr: float = 0.003,
) -> list[float]:
    """Accuracy over the seen classes after each task."""
    torch.manual_seed(seed)
    model, subspaces, means, results = bundled().eval().requires_grad_(False), [], list[dict[int, Tensor]](), []
    for task, rows, old, seen in stream.tasks():
        subspaces.append(nn.ModuleList(AdaptFormer(192, size) for _ in model.blocks))
        head = Cosine(192, seen - old, scale)
        optimizer = adam(subspaces[-1].parameters(), lr, head, head_lr)
        for _, chosen in batches(rows, batch_size, epochs):
            logits = head(features(model, subspaces[-1], stream.images[chosen]))
            step(optimizer, F.cross_entropy(logits, stream.labels[chosen] - old))
        subspaces[-1].eval()
        means.append({})
        for own, adapters in zip(means, subspaces, strict=True):
            known = over(rows, lambda images, adapters=adapters: features(model, adapters, images), stream)
            own[task] = torch.stack([known[stream.labels[rows] == c].mean(dim=0) for c in range(old, seen)])
        whole = F.normalize(synthesized(means), dim=2)
        owner = torch.bucketize(torch.arange(seen), torch.tensor(stream.seen), right=True)

        def answer(images: Tensor, prototypes: Tensor = whole, owner: Tensor = owner) -> Tensor:
            found = torch.stack([F.normalize(features(model, a, images), dim=1) for a in subspaces], dim=1)
            cosines = torch.einsum("btd,ctd->bct", found, prototypes)
            inside = F.one_hot(owner, len(subspaces))
            return (cosines * torch.where(inside > 0, 1.0, alpha / max(1, len(subspaces) - 1))).sum(dim=2)

        results.append(accuracy(answer, stream, task))
    return results
