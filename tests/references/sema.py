"""SEMA: the last block gets another adapter when its descriptors find a task's images surprising.

Wang et al., "Self-expansion of pre-trained models with mixture of adapters for continual learning" (CVPR 2025), and the
authors' code (huiyiwang01/SEMA-CL, ``backbone/sema_block.py``), with the last of two blocks expandable.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from references.common import Head, Stream, accuracy, batches, bundled, linear, step
from references.experts import Adapter, Expert, features


def orders(rows: Tensor, size: int) -> list[Tensor]:
    """Rows of the batches of one pass."""
    return list(rows[torch.randperm(len(rows))].split(size))


def fit(groups: list[dict[str, Any]], epochs: int, rows: Tensor, loss_of: Any) -> None:
    optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for chosen in orders(rows, 32):
            optimizer.zero_grad()
            loss_of(chosen).backward()
            optimizer.step()
        schedule.step()


def curve(
    stream: Stream, seed: int, *, threshold: float = 1.5, epochs: int = 5, batch_size: int = 32, lr: float = 0.01,
    head_lr: float = 0.01, head_std: float = 0.001,
) -> list[float]:  # fmt: skip
    """Accuracy over the seen classes after each task."""
    torch.manual_seed(seed)
    model, head, results = bundled().eval().requires_grad_(False), Head(), []
    first, experts = Adapter(192, 16), [Expert(192, 16, 128)]

    def encode(rows: Tensor) -> tuple[Tensor, Tensor]:
        return features(model, first, experts, stream.images[rows])

    def error(rows: Tensor) -> Tensor:
        """Of the newest descriptor, which remembers it."""
        errors = experts[-1].errors(encode(rows)[1].detach())
        experts[-1].known = torch.cat([experts[-1].known, errors.detach()])[-500:]
        return errors.mean()

    def surprise(one: Expert, rows: Tensor) -> float:
        away = (one.errors(encode(rows)[1]) - one.known.mean()).abs() / one.known.std(correction=0)
        return float(away.mean().detach())

    for task, rows, old, seen in stream.tasks():
        head.append(linear(192, seen - old, head_std))
        loss = lambda chosen, old=old: F.cross_entropy(head[-1](encode(chosen)[0]), stream.labels[chosen] - old)  # noqa: E731
        for chosen in orders(rows, 128) if task else []:
            if min(surprise(one, chosen) for one in experts) > threshold:
                experts.append(Expert(192, 16, 128))
                trained = [*experts[-1].adapter.parameters(), *experts[-1].router.parameters()]
                fit(
                    [{"params": trained, "lr": lr}, {"params": head[-1].parameters(), "lr": head_lr}],
                    epochs,
                    rows,
                    loss,
                )
                fit([{"params": experts[-1].descriptor(), "lr": 0.01}], 20, rows, error)
                break
        parts = [] if task else [{"params": [*first.parameters(), *experts[0].adapter.parameters()], "lr": lr}]
        groups = [*parts, {"params": head.parameters(), "lr": head_lr}]
        optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=5e-4)
        for _, chosen in batches(rows, batch_size, epochs):
            step(optimizer, loss(chosen))
        if not task:
            fit([{"params": experts[0].descriptor(), "lr": 0.01}], 20, rows, error)
        results.append(accuracy(lambda images: head(features(model, first, experts, images)[0]), stream, task))
    return results
