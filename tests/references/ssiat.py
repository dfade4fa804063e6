"""SSIAT: one adapter that all sessions tune, and a head aligned on class statistics that follow the drift of features.

Tan et al., "Semantically-shifted incremental adapter-tuning is a continual ViTransformer" (CVPR 2024), and the authors'
code (HAIV-Lab/SSIAT, ``models/SSITA_adapter.py``); the features before and after a session are of the same images.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal
from torch.nn import functional as F

from references.common import Stream, accuracy, batches, bundled, over, step
from references.ease import AdaptFormer as Adapter
from references.ease import features


class AdaptFormer(Adapter):
    """That of one block."""


class Cosine(nn.Module):
    """The classes of one session."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, width))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, given: Tensor) -> Tensor:
        return F.normalize(given, dim=1) @ F.normalize(self.weight, dim=1).T


def cosines(head: list[Cosine], given: Tensor) -> Tensor:
    return torch.cat([group(given) for group in head], dim=1)


def shifted(mean: Tensor, before: Tensor, after: Tensor, sigma: float, floor: float) -> Tensor:
    """A class's mean, moved by what the images near it moved."""
    near = torch.exp(-(before - mean).double().square().sum(dim=1) / (2 * sigma**2)) + floor
    return mean + (near[:, None] * (after - before)).sum(dim=0).float() / near.sum().float()


def align(head: list[Cosine], gaussians: list[tuple[int, Tensor, Tensor]], lr: float, epochs: int, number: int) -> None:
    """Train all groups on features drawn from every class's Gaussian, older means nearer to zero."""
    optimizer = torch.optim.SGD([group.weight for group in head], lr=lr, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    drawn = [((0.9 + 0.1 * (task + 1) / len(head)) * mean, spread) for task, mean, spread in gaussians]
    labels = torch.arange(len(drawn)).repeat_interleave(number)
    for _ in range(epochs):
        given = torch.cat([MultivariateNormal(mean, spread).sample((number,)) for mean, spread in drawn])
        for _, chosen in batches(torch.arange(len(labels)), number):
            step(optimizer, F.cross_entropy(20 * cosines(head, given[chosen]), labels[chosen]))
        schedule.step()


def curve(
    stream: Stream,
    seed: int,
    *,
    size: int = 64,
    sigma: float = 4.0,
    margin: float = 0.0,
    epochs: int = 5,
    batch_size: int = 32,
    lr: float = 0.03,
    head_lr: float = 0.03,
) -> list[float]:
    """Accuracy over the seen classes after each session."""
    torch.manual_seed(seed)
    model, head, gaussians, results = bundled().eval().requires_grad_(False), list[Cosine](), [], []
    adapter = nn.ModuleList(AdaptFormer(192, size) for _ in model.blocks)
    for task, rows, old, seen in stream.tasks():
        head.append(Cosine(192, seen - old))
        before = over(rows, lambda images: features(model, adapter.eval(), images), stream)
        groups = [{"params": adapter.parameters(), "lr": lr}, {"params": head[-1].parameters(), "lr": head_lr}]
        optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=5e-4)
        adapter.train()
        for _, chosen in batches(rows, batch_size, epochs):
            own = stream.labels[chosen] - old
            logits = head[-1](features(model, adapter, stream.images[chosen])) - margin * F.one_hot(own, seen - old)
            step(optimizer, F.cross_entropy(20 * logits, own))
        after = over(rows, lambda images: features(model, adapter.eval(), images), stream)
        gaussians = [(of, shifted(mean, before, after, sigma, 1e-5), spread) for of, mean, spread in gaussians]
        for label in range(old, seen):
            mine = after[stream.labels[rows] == label].double()
            gaussians.append((task, mine.mean(dim=0).float(), (torch.cov(mine.T) + 1e-3 * torch.eye(192)).float()))
        if task:
            align(head, gaussians, 0.01, 5, 256)
        answer = lambda images: cosines(head, features(model, adapter, images))  # noqa: E731
        results.append(accuracy(answer, stream, task))
    return results
