"""SLCA: a backbone that learns a hundred times slower than the head, and a head aligned on drawn features.

Zhang et al., "SLCA: slow learner with classifier alignment for continual learning on a pre-trained model" (ICCV 2023),
and the authors' code (GengDavid/SLCA, ``models/slca.py``).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal
from torch.nn import functional as F

from references.common import Head, Stream, accuracy, batches, bundled, embed, linear, over, step


def logits_by_norm(head: Head, features: Tensor) -> Tensor:
    """Logits divided by the mean over tasks of the norm of a task's logits (equation 5)."""
    parts = [layer(features) for layer in head]
    norm = torch.stack([part.norm(dim=1) for part in parts]).mean(dim=0)
    return torch.cat(parts, dim=1) / (norm[:, None] + 1e-7)


def aligned(
    head: Head, gaussians: list[tuple[int, Tensor, Tensor]], lr: float, epochs: int, samples: int, temperature: float
) -> Head:
    """A copy of the head, trained on features drawn from every class's Gaussian, older means nearer to zero."""
    head, tasks = copy.deepcopy(head), len(head)
    optimizer = torch.optim.SGD(head.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    labels = torch.arange(len(gaussians)).repeat_interleave(samples)
    for _ in range(epochs):
        drawn = [
            MultivariateNormal((0.9 + 0.1 * (task + 1) / tasks) * mean, covariance).sample((samples,))
            for task, mean, covariance in gaussians
        ]
        features = torch.cat(drawn)
        for _, chosen in batches(torch.arange(len(labels)), samples):
            step(optimizer, F.cross_entropy(logits_by_norm(head, features[chosen]) / temperature, labels[chosen]))
        schedule.step()
    return head


def curve(
    stream: Stream,
    seed: int,
    *,
    align_epochs: int = 5,
    samples: int = 256,
    temperature: float = 0.1,
    jitter: float = 1e-4,
    epochs: int = 3,
    batch_size: int = 32,
    lr: float = 1e-4,
    head_lr: float = 1e-2,
    head_std: float = 0.001,
) -> list[float]:
    """Accuracy over the seen classes after each task."""
    torch.manual_seed(seed)
    model, head, gaussians, results = bundled(), Head(), [], []
    for task, rows, old, seen in stream.tasks():
        head.append(linear(192, seen - old, head_std))
        groups = [{"params": model.parameters(), "lr": lr}, {"params": head[-1].parameters(), "lr": head_lr}]
        optimizer = torch.optim.SGD(groups, momentum=0.9)
        for _, chosen in batches(rows, batch_size, epochs):
            logits = head(embed(model, stream.images[chosen]))[:, old:]
            step(optimizer, F.cross_entropy(logits, stream.labels[chosen] - old))
        for label in range(old, seen):
            mine = rows[stream.labels[rows] == label]
            features = over(mine, lambda images: embed(model, images), stream)
            covariance = torch.cov(features.T.double()) + jitter * torch.eye(192)
            gaussians.append((task, features.mean(dim=0), covariance.float()))
        final = aligned(head, gaussians, head_lr, align_epochs, samples, temperature) if task else head
        results.append(accuracy(lambda images, head=final: head(embed(model, images)), stream, task))
    return results
