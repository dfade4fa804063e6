"""LwF: the old model's answers to the new images are kept while the new classes are learned.

Li & Hoiem, "Learning without forgetting" (ECCV 2016), section 3 and figure 3: record responses, warm the new outputs
up, then train everything on equation 1 for the new outputs plus lambda_o times equation 2 for the old ones.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from references.common import Head, Stream, accuracy, adam, batches, bundled, embed, linear, over, step


def curve(
    stream: Stream,
    seed: int,
    *,
    strength: float = 1.0,
    temperature: float = 2.0,
    warmup_epochs: int = 5,
    warmup_lr: float = 0.01,
    local: bool = True,
    epochs: int = 1,
    batch_size: int = 32,
    lr: float = 0.0005,
    head_lr: float = 0.003,
    head_std: float = 0.001,
) -> list[float]:
    """Accuracy over the seen classes after each task; not `local`: all seen classes compete in equation 1."""
    torch.manual_seed(seed)
    model, head, results = bundled(), Head(), []
    for task, rows, old, seen in stream.tasks():
        if task:
            known = torch.zeros(len(stream.images), 192)
            known[rows] = over(rows, lambda images: embed(model, images), stream)
            with torch.no_grad():
                recorded = (head(known) / temperature).softmax(dim=1)
        head.append(linear(192, seen - old, head_std))
        first = old if local else 0
        if task:
            optimizer = torch.optim.Adam(head[-1].parameters(), lr=warmup_lr)
            for _, chosen in batches(rows, batch_size, warmup_epochs):
                step(optimizer, F.cross_entropy(head(known[chosen])[:, first:], stream.labels[chosen] - first))
        optimizer = adam(model.parameters(), lr, head, head_lr)
        for _, chosen in batches(rows, batch_size, epochs):
            logits = head(embed(model, stream.images[chosen]))
            loss = F.cross_entropy(logits[:, first:], stream.labels[chosen] - first)
            if task:
                answers = (logits[:, :old] / temperature).log_softmax(dim=1)
                loss = loss - strength * (recorded[chosen] * answers).sum(dim=1).mean()
            step(optimizer, loss)
        results.append(accuracy(lambda images: head(embed(model, images)), stream, task))
    return results
