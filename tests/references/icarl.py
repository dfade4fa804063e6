"""iCaRL: herded exemplars, distillation by binary cross-entropy, and the nearest mean of the exemplars.

Rebuffi et al., "iCaRL: incremental classifier and representation learning" (CVPR 2017), algorithms 1 to 5.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from references.common import Head, Stream, accuracy, adam, batches, bundled, drawn, embed, linear, over, step


def herded(features: Tensor, number: int) -> list[int]:
    """Positions that bring the mean of the chosen nearest to the mean of all, one by one (algorithm 4)."""
    chosen: list[int] = []
    mean, total = features.mean(dim=0), torch.zeros(features.shape[1])
    for place in range(min(number, len(features))):
        distance = (mean - (total + features) / (place + 1)).norm(dim=1)
        distance[chosen] = torch.inf
        chosen.append(int(distance.argmin()))
        total = total + features[chosen[-1]]
    return chosen


def curve(
    stream: Stream,
    seed: int,
    *,
    capacity: int = 50,
    rehearsal: Literal["beside", "among"] = "beside",
    epochs: int = 3,
    batch_size: int = 32,
    lr: float = 0.0005,
    head_lr: float = 0.003,
    head_std: float = 0.001,
) -> list[float]:
    """Accuracy over the seen classes after each task.

    `rehearsal`: exemplars are ``among`` the task's images, as in algorithm 3, or as many as the batch has stand
    ``beside`` it in every step.
    """
    torch.manual_seed(seed)
    model, head, kept, results = bundled(), Head(), list[Tensor](), []
    for task, rows, old, seen in stream.tasks():
        past = torch.cat([*kept, rows[:0]])
        targets = F.one_hot(stream.labels, stream.labels.max() + 1).float()
        if task:
            both = torch.cat([rows, past])
            targets[both, :old] = over(both, lambda images: head(embed(model, images)), stream).sigmoid()
        head.append(linear(192, seen - old, head_std))
        optimizer = adam(model.parameters(), lr, head, head_lr)
        for _, chosen in batches(torch.cat([rows, past]) if rehearsal == "among" else rows, batch_size, epochs):
            if rehearsal == "beside":
                chosen = torch.cat([chosen, drawn(past, len(chosen))])
            logits = head(embed(model, stream.images[chosen]))
            loss = F.binary_cross_entropy_with_logits(logits, targets[chosen, :seen], reduction="sum")
            step(optimizer, loss / len(chosen))
        quota = capacity // seen
        kept = [own[:quota] for own in kept]
        for label in range(old, seen):
            mine = rows[stream.labels[rows] == label]
            features = F.normalize(over(mine, lambda images: embed(model, images), stream), dim=1)
            kept.append(mine[herded(features, quota)])
        found = [F.normalize(over(own, lambda images: embed(model, images), stream), dim=1) for own in kept]
        means = torch.stack([F.normalize(own.mean(dim=0), dim=0) for own in found])
        results.append(accuracy(lambda x, m=means: -torch.cdist(F.normalize(embed(model, x), dim=1), m), stream, task))
    return results
