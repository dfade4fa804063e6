"""DUCT: each task starts from the pre-trained weights, what tasks add is summed up, and old rows follow new ones.

Zhou et al., "Dual consolidation for pre-trained model-based domain-incremental learning" (CVPR 2025), for classes that
come once, as the authors have it in LAMDA-PILOT (``models/duct.py``).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from references.common import Stream, accuracy, batches, bundled, embed, over, step


class Cosine(nn.Module):
    """A classifier by cosine with a learned scale."""

    def __init__(self, width: int, classes: int, std: float) -> None:
        super().__init__()
        self.weight, self.scale = nn.Parameter(std * torch.randn(classes, width)), nn.Parameter(torch.ones(()))

    def forward(self, features: Tensor) -> Tensor:
        return self.scale * (F.normalize(features, dim=1) @ F.normalize(self.weight, dim=1).T)


def order(number: int) -> Tensor:
    """In which order the features of the second training come in an epoch."""
    return torch.randperm(number)


def retrained(head: Cosine, features: Tensor, labels: Tensor, lr: float, epochs: int, batch_size: int) -> None:
    """Train the rows of one task again, on features that stay."""
    optimizer = torch.optim.SGD(head.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    for _ in range(epochs):
        for chosen in order(len(labels)).split(batch_size):
            loss = F.cross_entropy(head(features[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def plan(cost: Tensor, strength: float) -> Tensor:
    """Sinkhorn's plan ``[new, old]`` between uniform marginals, with costs as shares of the largest."""
    kernel = (-cost.double() / cost.max() / strength).exp()
    new, old = kernel.shape
    right = torch.ones(old, dtype=kernel.dtype)
    for _ in range(5000):
        left = 1 / new / (kernel @ right)
        right = 1 / old / (kernel.T @ left)
    return left[:, None] * kernel * right


def curve(
    stream: Stream,
    seed: int,
    *,
    scale: float = 0.25,
    share: float = 0.25,
    strength: float = 0.02,
    again: int = 5,
    again_lr: float = 0.0333,
    epochs: int = 3,
    batch_size: int = 32,
    lr: float = 1e-2,
    head_lr: float = 0.1,
    head_std: float = 0.02,
) -> list[float]:
    """Accuracy over the seen classes after each task."""
    torch.manual_seed(seed)
    start, rows_of, means_of, results = bundled(), list[Tensor](), list[Tensor](), []
    total = {name: torch.zeros_like(value) for name, value in start.named_parameters()}
    for task, rows, old, seen in stream.tasks():
        model, head, labels = copy.deepcopy(start), Cosine(192, seen - old, head_std), stream.labels[rows] - old

        def means(model: nn.Module, rows: Tensor = rows, labels: Tensor = labels) -> Tensor:
            features = over(rows, lambda images: embed(model, images), stream)
            return torch.stack([features[labels == c].mean(dim=0) for c in labels.unique()])

        groups = [{"params": model.parameters(), "lr": lr}, {"params": head.parameters(), "lr": head_lr}]
        optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=5e-4)
        for _, chosen in batches(rows, batch_size, epochs):
            logits = head(embed(model, stream.images[chosen]))
            step(optimizer, F.cross_entropy(logits, stream.labels[chosen] - old))
        plain, alike = means(start), F.cosine_similarity(means(start), means(model)).mean().item()
        with torch.no_grad():
            for (name, value), before in zip(model.named_parameters(), start.parameters(), strict=True):
                total[name] += scale * alike * (value - before)
                value.copy_(before + total[name])
        retrained(head, over(rows, lambda i, m=model: embed(m, i), stream), labels, again_lr, again, batch_size)
        new = head.weight.detach()
        for number, (earlier, known) in enumerate(zip(rows_of, means_of, strict=True)):
            moved = len(earlier) * plan(torch.cdist(plain, known), strength).T.float() @ new
            rows_of[number] = (1 - share) * earlier + share * moved
        rows_of, means_of = [*rows_of, new], [*means_of, plain]
        directions = F.normalize(torch.cat(rows_of), dim=1)
        results.append(accuracy(lambda i, m=model, d=directions: F.normalize(embed(m, i), dim=1) @ d.T, stream, task))
    return results
