"""DER++: exemplars are replayed with the logits that the model gave when they were stored, and with their labels.

Buzzega et al., "Dark experience for general continual learning" (NeurIPS 2020), algorithm 2, and the authors' code
(aimagelab/mammoth, ``models/derpp.py``, ``utils/buffer.py``): the head has all classes from the start, and every
sample of every epoch is offered to the reservoir.
"""

from __future__ import annotations

import random

import torch
from torch.nn import functional as F

from references.common import Stream, accuracy, adam, batches, bundled, embed, linear, step


def curve(
    stream: Stream,
    seed: int,
    *,
    capacity: int = 50,
    alpha: float = 0.3,
    beta: float = 0.5,
    epochs: int = 5,
    batch_size: int = 32,
    lr: float = 0.0005,
    head_lr: float = 0.003,
    head_std: float = 0.001,
) -> list[float]:
    """Accuracy over the seen classes after each task."""
    torch.manual_seed(seed)
    draws = random.Random(seed)
    model, head = bundled(), linear(192, stream.classes, head_std)
    kept, logits_of, offered, results = [], {}, 0, []
    for task, rows, _, seen in stream.tasks():
        optimizer = adam(model.parameters(), lr, head, head_lr)
        for _, chosen in batches(rows, batch_size, epochs):
            logits = head(embed(model, stream.images[chosen]))
            loss = F.cross_entropy(logits, stream.labels[chosen])
            if kept:
                size = min(batch_size, len(kept))
                places = draws.sample(range(len(kept)), size)
                again = head(embed(model, stream.images[[kept[place] for place in places]]))
                loss = loss + alpha * F.mse_loss(again, torch.stack([logits_of[place] for place in places]))
                others = [kept[place] for place in draws.sample(range(len(kept)), size)]
                again = head(embed(model, stream.images[others]))
                loss = loss + beta * F.cross_entropy(again, stream.labels[others])
            step(optimizer, loss)
            for row, answer in zip(chosen.tolist(), logits.detach(), strict=True):
                place = offered if offered < capacity else draws.randrange(offered + 1)
                offered += 1
                if place < capacity:
                    kept[place : place + 1] = [row]
                    logits_of[place] = answer
        results.append(accuracy(lambda images, seen=seen: head(embed(model, images))[:, :seen], stream, task))
    return results
