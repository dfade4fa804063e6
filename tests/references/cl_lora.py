"""CL-LoRA: a shared LoRA in the first half of the blocks that distills what it was, and one of each task in the second.

He et al., "CL-LoRA: continual low-rank adaptation for rehearsal-free class-incremental learning" (CVPR 2025), and the
authors' code (JiangpengHe/CL-LoRA, ``models/cllora.py``), with the cross-entropy behind the distillation's step.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from references.common import Stream, accuracy, attend, batches, bundled, over, pooled, step, tokens
from references.ease import Cosine


class LowRank(nn.Module):
    """B A x, the rows of A orthonormal."""

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, rank, bias=False), nn.Linear(rank, width, bias=False)
        nn.init.orthogonal_(self.down.weight)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Any:
        return self.up(self.down(x))


class Weights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.rand(3, 1) + 0.5)


def adapted(block: Any, x: Tensor, query: LowRank, value: LowRank, of_query: Any = 1, of_value: Any = 1) -> Any:
    normed = block.norm1(x)
    q, k, v = block.attn.qkv(normed).chunk(3, dim=2)
    x = x + attend(block.attn, q + of_query * query(normed), k, v + of_value * value(normed))
    return x + block.mlp(block.norm2(x))


def early(model: Any, shared: nn.ModuleList, images: Tensor) -> Any:
    return adapted(model.blocks[0], tokens(model, images), *shared)


def features(model: Any, shared: nn.ModuleList, own: nn.ModuleList, weights: Weights, images: Tensor) -> Tensor:
    mu = weights.values[:, 0]
    return pooled(model, adapted(model.blocks[1], early(model, shared, images), *own, mu[0], mu[2]))


def distill(model: Any, shared: Any, before: Any, head: Cosine, images: Tensor, optimizer: Any) -> None:
    """The distillation's step: weight 5, temperature 2."""
    target = (head(pooled(model, early(model, before, images)).detach()) / 2).softmax(dim=1)
    now = (head(pooled(model, early(model, shared, images))) / 2).log_softmax(dim=1)
    optimizer.zero_grad()
    (-5 * (target * now).sum(dim=1).mean()).backward()
    for mine, kept in zip(shared, before, strict=True):
        norms = kept.up.weight.norm(dim=1)
        mine.up.weight.grad *= (len(norms) * norms / norms.sum())[:, None]
    optimizer.step()


def curve(
    stream: Stream, seed: int, *, rank: int = 8, epochs: int = 5, batch_size: int = 32, lr: float, head_lr: float
) -> list[float]:
    """Accuracy over the seen classes after each task."""
    torch.manual_seed(seed)
    model, means, results = bundled().eval().requires_grad_(False), list[Tensor](), []
    shared, tasks, mus = nn.ModuleList(LowRank(192, rank) for _ in range(2)), [], []
    for task, rows, old, seen in stream.tasks():
        tasks.append(nn.ModuleList(LowRank(192, rank) for _ in range(2)))
        mus.append(Weights())
        head, before = Cosine(192, seen - old, 1.0), copy.deepcopy(shared)
        body = [*(pair.up.weight for pair in shared), *tasks[-1].parameters(), mus[-1].values]
        groups = [{"params": body, "lr": lr}, {"params": head.parameters(), "lr": head_lr}]
        optimizer = torch.optim.SGD(groups, momentum=0.9)
        for _, chosen in batches(rows, batch_size, epochs):
            images = stream.images[chosen]
            if task:
                distill(model, shared, before, head, images, optimizer)
            logits = head(features(model, shared, tasks[-1], mus[-1], images))
            flat = [mu.values.flatten() for mu in mus]
            alike = [F.cosine_similarity(one.detach(), flat[-1], dim=0).abs() for one in flat[:-1]]
            apart = 1e-4 * sum(alike) / max(1, len(alike))
            step(optimizer, F.cross_entropy(logits, stream.labels[chosen] - old) + apart)
        found = over(rows, lambda x: features(model, shared, tasks[-1], mus[-1], x), stream)
        own = [F.normalize(found[stream.labels[rows] == label].mean(dim=0), dim=0) for label in range(old, seen)]
        means.append(torch.stack(own))
        results.append(accuracy(lambda x: cosines(model, shared, tasks, mus, means, x), stream, task))
    return results


def cosines(model: Any, shared: Any, tasks: list[Any], mus: list[Any], means: list[Tensor], images: Tensor) -> Tensor:
    found = [F.normalize(features(model, shared, own, mu, images), dim=1) for own, mu in zip(tasks, mus, strict=True)]
    return torch.cat([one @ mean.T for one, mean in zip(found, means, strict=True)], dim=1)
