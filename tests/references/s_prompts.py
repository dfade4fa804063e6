"""S-Prompts: prompt and classifier of each session, chosen for a test image by the nearest of the sessions' centroids.

Wang et al., "S-Prompts learning with pre-trained transformers: an Occam's razor for domain incremental learning"
(NeurIPS 2022), section 3, and the authors' code (iamwangyabin/S-Prompts, ``methods/sprompt.py``, ``models/sinet.py``).
"""

from __future__ import annotations

import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn import functional as F

from references.common import Stream, accuracy, adam, batches, bundled, embed, linear, over, pooled, step, tokens

BELOW_ALL = -1e9


def first_prompt(length: int, width: int, bound: float) -> nn.Parameter:
    """Tokens of a new session, uniform as the authors' linear layer begins."""
    return nn.Parameter(torch.empty(length, width).uniform_(-bound, bound))


def curve(
    stream: Stream,
    seed: int,
    *,
    length: int = 10,
    clusters: int = 5,
    bound: float = 192**-0.5,
    epochs: int = 5,
    batch_size: int = 32,
    lr: float = 0.01,
    head_lr: float = 0.003,
    head_std: float = 0.001,
) -> list[float]:
    """Accuracy over the seen classes after each task."""
    torch.manual_seed(seed)
    model = bundled().eval().requires_grad_(False)
    prompts, heads, centroids, results = [], [], [], []

    def logits_of(images: Tensor, session: int) -> Tensor:
        given = prompts[session].expand(len(images), -1, -1)
        x = torch.cat([given, tokens(model, images)], dim=1)
        for block in model.blocks:
            x = block(x)
        logits: Tensor = heads[session](pooled(model, x[:, length:]))
        return logits

    def answer(images: Tensor) -> Tensor:
        query = F.normalize(embed(model, images), dim=1)
        away = torch.stack([torch.cdist(query, own, p=1).amin(dim=1) for own in centroids])
        sessions, logits = away.argmin(dim=0), torch.full((len(images), stream.seen[len(heads) - 1]), BELOW_ALL)
        for session in sessions.unique().tolist():
            mine = (sessions == session).nonzero()
            first, last = (0, *stream.seen)[session], stream.seen[session]
            logits[mine, torch.arange(first, last)] = logits_of(images[mine[:, 0]], session)
        return logits

    for task, rows, old, seen in stream.tasks():
        prompts.append(first_prompt(length, 192, bound))
        heads.append(linear(192, seen - old, head_std))
        optimizer = adam([prompts[-1]], lr, heads[-1], head_lr)
        for _, chosen in batches(rows, batch_size, epochs):
            step(optimizer, F.cross_entropy(logits_of(stream.images[chosen], task), stream.labels[chosen] - old))
        queries = F.normalize(over(rows, lambda images: embed(model, images), stream), dim=1)
        found = KMeans(clusters, n_init=10, random_state=seed).fit(queries.numpy())
        centroids.append(torch.from_numpy(found.cluster_centers_))
        results.append(accuracy(answer, stream, task))
    return results
