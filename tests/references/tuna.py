"""TUNA: the least uncertain of the tasks' adapters, and one that is elected of all of them.

Wang et al., "Integrating task-specific and universal adapters for pre-trained model-based class-incremental learning"
(ICCV 2025), and the authors' code (``models/tuna.py``); kept adapters never change.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal
from torch.nn import functional as F

from references.common import Stream, accuracy, batches, bundled, over, step
from references.ease import AdaptFormer as Adapter
from references.ease import features
from references.ssiat import Cosine, cosines


class AdaptFormer(Adapter):
    """That of one block."""


class Group(Cosine):
    """The classes of one task."""


def overlap(adapter: nn.ModuleList, kept: nn.ModuleList) -> Tensor:
    """Of each block the mean over all pairs of rows, and then its size."""
    rows = [[F.normalize(part.up.weight, dim=1) for part in one] for one in (adapter, kept)]
    return torch.stack([(mine @ theirs.T).mean().abs() for mine, theirs in zip(*rows, strict=True)]).mean()


@torch.no_grad()
def elect(adapters: list[nn.ModuleList]) -> nn.ModuleList:
    """Entry by entry the largest value that has the sign of the sum."""
    merged = copy.deepcopy(adapters[0])
    for value, *all_of in zip(merged.parameters(), *(one.parameters() for one in adapters), strict=True):
        values = torch.stack(all_of)
        up, down = values.clamp(min=0).amax(dim=0), values.clamp(max=0).amin(dim=0)
        value.copy_(torch.where(values.sum(dim=0) > 0, up, torch.where(values.sum(dim=0) < 0, down, 0.0)))
    return merged


def align(head: list[Group], gaussians: list[tuple[Tensor, Tensor]], number: int) -> None:
    """Train all groups on features drawn from every class's Gaussian."""
    optimizer = torch.optim.SGD([group.weight for group in head], lr=0.005, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30)
    labels = torch.arange(len(gaussians)).repeat_interleave(number)
    for _ in range(30):
        given = torch.cat([MultivariateNormal(mean, spread).sample((number,)) for mean, spread in gaussians])
        for _, chosen in batches(torch.arange(len(labels)), number):
            step(optimizer, F.cross_entropy(20 * cosines(head, given[chosen]), labels[chosen]))
        schedule.step()


def curve(
    stream: Stream,
    seed: int,
    *,
    weight: float = 0.0,
    epochs: int = 5,
    batch_size: int = 32,
    lr: float = 0.1,
    head_lr: float = 0.03,
) -> list[float]:
    """Accuracy over the seen classes after each task."""
    torch.manual_seed(seed)
    model, head, gaussians, results = bundled().eval().requires_grad_(False), list[Group](), [], []
    adapter, kept = nn.ModuleList(AdaptFormer(192, 16) for _ in model.blocks), []
    for task, rows, old, seen in stream.tasks():
        head.append(Group(192, seen - old))
        groups = [{"params": adapter.parameters(), "lr": lr}, {"params": head[-1].parameters(), "lr": head_lr}]
        optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=5e-4)
        adapter.train()
        for _, chosen in batches(rows, batch_size, epochs):
            logits = 20 * head[-1](features(model, adapter, stream.images[chosen]))
            loss = F.cross_entropy(logits, stream.labels[chosen] - old)
            step(optimizer, loss + weight * math.exp(-(task + 1)) * sum(overlap(adapter, one) for one in kept))
        kept.append(copy.deepcopy(adapter).eval().requires_grad_(False))
        known, universal = over(rows, lambda images: features(model, kept[-1], images), stream), elect(kept)
        for label in range(old, seen):
            mine = known[stream.labels[rows] == label].double()
            gaussians.append((mine.mean(dim=0).float(), (torch.cov(mine.T) + 1e-4 * torch.eye(192)).float()))
        if task:
            align(head, gaussians, 5 * batch_size)

        def answer(images: Tensor, universal: nn.ModuleList = universal) -> Tensor:
            found = [(20 * cosines(head, features(model, one, images))).softmax(dim=1) for one in [*kept, universal]]
            entropies = torch.stack([torch.distributions.Categorical(one).entropy() for one in found[:-1]])
            return torch.stack(found)[entropies.argmin(dim=0), torch.arange(len(images))] + found[-1]

        results.append(accuracy(answer, stream, task))
    return results
