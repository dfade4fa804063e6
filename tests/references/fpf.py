"""FPF: the modules that tasks change most are tuned alone on the exemplars before the model is used.

Zhao et al., "Does continual learning equally forget all parameters?" (ICML 2023), algorithm 1, on plain fine-tuning.
Tuned are normalizations and classifier; of a ViT without batch normalization those are its layer normalizations.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional as F

from references.common import Head, Stream, accuracy, adam, batches, bundled, drawn, embed, linear, step


def shuffled(rows: torch.Tensor) -> torch.Tensor:
    """The rows in another order."""
    return rows[torch.randperm(len(rows))]


def curve(
    stream: Stream,
    seed: int,
    *,
    capacity: int = 50,
    steps: int = 100,
    tuning_lr: float = 0.01,
    momentum: float = 0.9,
    tuning_batch: int = 32,
    epochs: int = 1,
    batch_size: int = 32,
    lr: float = 0.0005,
    head_lr: float = 0.003,
    head_std: float = 0.001,
) -> list[float]:
    """Accuracy over the seen classes after each task, with the model tuned for that answer alone."""
    torch.manual_seed(seed)
    model, head, kept, results = bundled(), Head(), list[torch.Tensor](), []
    for task, rows, old, seen in stream.tasks():
        head.append(linear(192, seen - old, head_std))
        optimizer = adam(model.parameters(), lr, head, head_lr)
        for _, chosen in batches(rows, batch_size, epochs):
            step(optimizer, F.cross_entropy(head(embed(model, stream.images[chosen])), stream.labels[chosen]))
        own = [rows[stream.labels[rows] == label] for label in range(old, seen)]
        kept = [shuffled(rows)[: capacity // seen] for rows in [*kept, *own]]
        exemplars = torch.cat(kept)
        body, top = copy.deepcopy(model), copy.deepcopy(head)
        norms = [value for part in body.modules() if isinstance(part, nn.LayerNorm) for value in part.parameters()]
        optimizer = torch.optim.SGD([*norms, *top.parameters()], lr=tuning_lr, momentum=momentum)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            chosen = drawn(exemplars, tuning_batch)
            step(optimizer, F.cross_entropy(top(embed(body, stream.images[chosen])), stream.labels[chosen]))
            schedule.step()
        results.append(accuracy(lambda images, b=body, t=top: t(embed(b, images)), stream, task))
    return results
