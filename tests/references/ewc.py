"""Online EWC: parameters are held near the last task's values, each as firmly as its Fisher information says.

Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks" (PNAS 2017), equation 3; Schwarz et al.,
"Progress & compress" (ICML 2018), section 3.2: one running Fisher diagonal, one anchor.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from references.common import Head, Stream, accuracy, adam, batches, bundled, embed, linear, step


def curve(
    stream: Stream,
    seed: int,
    *,
    penalty: float = 1e7,
    gamma: float = 1.0,
    samples: int = 128,
    epochs: int = 1,
    batch_size: int = 32,
    lr: float = 0.0005,
    head_lr: float = 0.003,
    head_std: float = 0.001,
) -> list[float]:
    """Accuracy over the seen classes after each task."""
    torch.manual_seed(seed)
    model, head, results = bundled(), Head(), []
    held: list[tuple[torch.nn.Parameter, torch.Tensor, torch.Tensor]] = []
    for task, rows, old, seen in stream.tasks():
        head.append(linear(192, seen - old, head_std))
        optimizer = adam(model.parameters(), lr, head, head_lr)
        for _, chosen in batches(rows, batch_size, epochs):
            loss = F.cross_entropy(head(embed(model, stream.images[chosen])), stream.labels[chosen])
            pull = sum((fisher * (value - anchor).square()).sum() for value, fisher, anchor in held)
            step(optimizer, loss + 0.5 * penalty * pull)
        values = [*model.parameters(), *head.parameters()]
        fisher = {value: torch.zeros_like(value) for value in values}
        drawn = rows[torch.randperm(len(rows))[:samples]]
        for row in drawn:  # one by one: the square of each image's gradient, not of a batch's
            loss = F.cross_entropy(head(embed(model, stream.images[row][None])), stream.labels[row][None])
            for value, gradient in zip(values, torch.autograd.grad(loss, values), strict=True):
                fisher[value] += gradient.square() / len(drawn)
        for value, before, _ in held:
            fisher[value] += gamma * before
        held = [(value, amount, value.detach().clone()) for value, amount in fisher.items()]
        results.append(accuracy(lambda images: head(embed(model, images)), stream, task))
    return results
