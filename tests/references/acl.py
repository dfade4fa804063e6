"""ACL: before each task all weights of the network are drawn to the prototypes of its classes; then it is fine-tuned.

Lu et al., "Adapt before continual learning" (AAAI 2026), and the authors' code (byyx666/ACL_code,
``models/simplecil.py``), in front of fine-tuning.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from references.common import Head, Stream, accuracy, adam, batches, bundled, embed, linear, over, step


def orders(rows: Tensor, size: int, epochs: int) -> list[Tensor]:
    """Rows of the batches of the adaptation."""
    return [chosen for _ in range(epochs) for chosen in rows[torch.randperm(len(rows))].split(size)]


def adapt(
    model: Any, stream: Stream, rows: Tensor, old: int, seen: int, lr: float, epochs: int, temperature: float, size: int
) -> None:
    """Pull each image's features to the fixed mean of its class, and push them from those of the task's others."""
    known, labels = over(rows, lambda images: embed(model, images), stream), stream.labels[rows]
    prototypes = torch.stack([F.normalize(known[labels == c].mean(dim=0), dim=0) for c in range(old, seen)])
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    for chosen in orders(rows, size, epochs):
        cosines = F.normalize(embed(model, stream.images[chosen]), dim=1) @ prototypes.T
        optimizer.zero_grad()
        F.cross_entropy(cosines / temperature, stream.labels[chosen] - old).backward()
        optimizer.step()


def curve(
    stream: Stream,
    seed: int,
    *,
    acl_lr: float = 1e-3,
    acl_epochs: int = 1,
    temperature: float = 0.1,
    epochs: int = 3,
    batch_size: int = 32,
    lr: float = 1e-4,
    head_lr: float = 1e-3,
    head_std: float = 0.001,
) -> list[float]:
    """Accuracy over the seen classes after each task."""
    torch.manual_seed(seed)
    model, head, results = bundled(), Head(), []
    for task, rows, old, seen in stream.tasks():
        head.append(linear(192, seen - old, head_std))
        adapt(model, stream, rows, old, seen, acl_lr, acl_epochs, temperature, batch_size)
        optimizer = adam(model.parameters(), lr, head, head_lr)
        for _, chosen in batches(rows, batch_size, epochs):
            logits = head(embed(model, stream.images[chosen]))
            step(optimizer, F.cross_entropy(logits, stream.labels[chosen]))
        results.append(accuracy(lambda images: head(embed(model, images)), stream, task))
    return results
