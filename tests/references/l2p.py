"""L2P: each image is given the prompts of a pool whose keys are nearest to its frozen features.

Wang et al., "Learning to prompt for continual learning" (CVPR 2022), section 4, and the authors' code
(google-research/l2p, ``models/prompt.py`` and ``vit.py``: the head reads the mean of the prompts' tokens).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from references.common import Head, Stream, accuracy, adam, batches, bundled, embed, linear, over, step, tokens


def uniform(shape: tuple[int, ...], bounds: tuple[float, float]) -> nn.Parameter:
    """First values of prompts and keys."""
    return nn.Parameter(torch.empty(shape).uniform_(*bounds))


def curve(
    stream: Stream,
    seed: int,
    *,
    length: int = 10,
    pool: int = 10,
    top_k: int = 4,
    similarity: float = 1.0,
    prompt_range: tuple[float, float] = (-1.0, 1.0),
    key_range: tuple[float, float] = (-1.0, 1.0),
    epochs: int = 5,
    batch_size: int = 32,
    lr: float = 0.003,
    head_lr: float = 0.003,
    head_std: float = 0.001,
) -> list[float]:
    """Accuracy over the seen classes after each task."""
    torch.manual_seed(seed)
    model = bundled().eval().requires_grad_(False)
    prompts = uniform((pool, length, 192), prompt_range)
    keys = uniform((pool, 192), key_range)
    head, results = Head(), []

    def nearest(query: Tensor) -> tuple[Tensor, Tensor]:
        """The chosen entries' cosines with the query, and their numbers, ``[B, top_k]``."""
        cosines = F.normalize(query, dim=1) @ F.normalize(keys, dim=1).T
        best = cosines.topk(top_k, dim=1)
        return best.values, best.indices

    def logits_of(images: Tensor, chosen: Tensor) -> Tensor:
        given = prompts[chosen].flatten(1, 2)
        x = torch.cat([given, tokens(model, images)], dim=1)
        for block in model.blocks:
            x = block(x)
        logits: Tensor = head(model.fc_norm(x[:, : given.shape[1]].mean(dim=1)))
        return logits

    def answer(images: Tensor) -> Tensor:
        return logits_of(images, nearest(embed(model, images))[1])

    queries = torch.zeros(len(stream.images), 192)
    for task, rows, old, seen in stream.tasks():
        head.append(linear(192, seen - old, head_std))
        queries[rows] = over(rows, lambda images: embed(model, images), stream)
        optimizer = adam([prompts, keys], lr, head, head_lr)
        for _, chosen in batches(rows, batch_size, epochs):
            cosines, entries = nearest(queries[chosen])
            logits = logits_of(stream.images[chosen], entries)[:, old:]
            loss = F.cross_entropy(logits, stream.labels[chosen] - old)
            step(optimizer, loss - similarity * cosines.sum(dim=1).mean())
        results.append(accuracy(answer, stream, task))
    return results
