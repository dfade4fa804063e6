"""CoFiMA: SLCA whose weights become, after each task, a mean of those before and after it, by Fisher information.

Marouf et al., "Weighted ensemble models are strong continual learners" (ECCV 2024), and the authors' code
(IemProg/CoFiMA, ``models/cofima.py``), without a limit of the information.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from references.common import Head, Stream, accuracy, batches, bundled, embed, linear, over, step
from references.slca import aligned


def order(rows: Tensor) -> Tensor:
    """In which order a task's images come once more."""
    return rows[torch.randperm(len(rows))]


def fisher(model: Any, head: Head, stream: Stream, rows: Tensor, batch_size: int) -> dict[str, Tensor]:
    """Mean over batches of the squared gradient of the cross-entropy over all seen classes."""
    parts, squares = order(rows).split(batch_size), dict[str, Tensor]()
    for chosen in parts:
        model.zero_grad()
        head.zero_grad()
        F.cross_entropy(head(embed(model, stream.images[chosen])), stream.labels[chosen]).backward()
        for name, value in named(model, head):
            assert value.grad is not None
            squares[name] = squares.get(name, torch.zeros_like(value)) + value.grad**2 / len(parts)
    model.zero_grad()
    head.zero_grad()
    return squares


def named(model: Any, head: Head) -> list[tuple[str, nn.Parameter]]:
    return [*model.named_parameters(), *((f"head {name}", value) for name, value in head.named_parameters())]


def curve(
    stream: Stream,
    seed: int,
    *,
    alpha: float = 0.4,
    align_epochs: int = 5,
    samples: int = 256,
    temperature: float = 0.1,
    epochs: int = 3,
    batch_size: int = 32,
    lr: float = 1e-3,
    head_lr: float = 1e-2,
    head_std: float = 0.001,
) -> list[float]:
    """Accuracy over the seen classes after each task."""
    torch.manual_seed(seed)
    model, head, gaussians, results = bundled(), Head(), [], []
    before, known = dict[str, Tensor](), dict[str, Tensor]()
    for task, rows, old, seen in stream.tasks():
        head.append(linear(192, seen - old, head_std))
        groups = [{"params": model.parameters(), "lr": lr}, {"params": head[-1].parameters(), "lr": head_lr}]
        optimizer = torch.optim.SGD(groups, momentum=0.9)
        for _, chosen in batches(rows, batch_size, epochs):
            logits = head(embed(model, stream.images[chosen]))[:, old:]
            step(optimizer, F.cross_entropy(logits, stream.labels[chosen] - old))
        final, fresh = copy.deepcopy(head), fisher(model, head, stream, rows, batch_size)
        with torch.no_grad():
            for name, value in named(model, final):
                if name in before:
                    weights = (1 - alpha) * known[name].double(), alpha * fresh[name].double()
                    mean = (weights[0] * before[name] + weights[1] * value) / (weights[0] + weights[1])
                    value.copy_(torch.where(sum(weights) > 0, mean, (1 - alpha) * before[name] + alpha * value))
        for label in range(old, seen):
            features = over(rows[stream.labels[rows] == label], lambda images: embed(model, images), stream)
            covariance = torch.cov(features.T.double())
            ridge = 1e-4 * covariance.diagonal().mean() * torch.eye(192)
            gaussians.append((task, features.mean(dim=0), (covariance + ridge).float()))
        final = aligned(final, gaussians, head_lr, align_epochs, samples, temperature) if task else final
        before, known = {name: value.detach().clone() for name, value in named(model, final)}, fresh
        results.append(accuracy(lambda images, last=final: last(embed(model, images)), stream, task))
    return results
