"""HiDe-Prompt: a prefix of each task, the task inferred from plain features, and a head aligned on drawn features.

Wang et al., "Hierarchical decomposition of prompt-based continual learning" (NeurIPS 2023), and the authors' code
(thu-ml/HiDe-Prompt), with all batches of drawn features, as the paper has it.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from references.common import (
    Head,
    Stream,
    accuracy,
    adam,
    attend,
    batches,
    bundled,
    embed,
    linear,
    over,
    pooled,
    step,
    tokens,
)
from references.drawn import Gaussian, align, centroids, identity_net, learn


class Prefix(nn.Module):
    """Keys and values that every query also attends to."""

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.keys, self.values = (nn.Parameter(torch.empty(length, width).uniform_(-1, 1)) for _ in range(2))


def features(model: Any, prefixes: nn.ModuleList, images: Tensor) -> Tensor:
    x = tokens(model, images)
    for block, prefix in zip(model.blocks, prefixes, strict=True):
        q, k, v = block.attn.qkv(block.norm1(x)).chunk(3, dim=2)
        more = (part.expand(len(x), -1, -1) for part in (prefix.keys, prefix.values))
        x = x + attend(block.attn, q, *(torch.cat(pair, dim=1) for pair in zip(more, (k, v), strict=True)))
        x = x + block.mlp(block.norm2(x))
    return pooled(model, x)


def curve(
    stream: Stream,
    seed: int,
    *,
    length: int = 5,
    momentum: float = 0.01,
    contrast: float = 0.1,
    number: int = 3,
    samples: int = 24,
    epochs: int = 5,
    batch_size: int = 32,
    lr: float = 0.003,
    head_lr: float = 0.003,
    head_std: float = 0.001,
) -> list[float]:
    """Accuracy over the seen classes after each task."""
    torch.manual_seed(seed)
    model, head, parts, results = bundled().eval().requires_grad_(False), Head(), list[nn.ModuleList](), []
    identity, plain, prompted = identity_net(stream.classes), list[Gaussian](), list[Gaussian]()
    for task, rows, old, seen in stream.tasks():
        parts.append(copy.deepcopy(parts[-1]) if task else nn.ModuleList(Prefix(192, length) for _ in model.blocks))
        head.append(linear(192, seen - old, head_std))
        optimizer = adam(parts[-1].parameters(), lr, head, head_lr)
        for _, chosen in batches(rows, batch_size, epochs):
            found = features(model, parts[-1], stream.images[chosen])
            rowwise = torch.cat([*(mean[None] for _, mean, _ in prompted), found])
            apart = F.cross_entropy(rowwise @ rowwise.T / 0.8, torch.arange(len(rowwise)))
            step(optimizer, F.cross_entropy(head(found)[:, old:], stream.labels[chosen] - old) + contrast * apart)
        with torch.no_grad():
            for values in zip(*(one.parameters() for one in parts), strict=True) if task else ():
                values[-1].lerp_(torch.stack(values[:-1]).mean(dim=0), momentum)
        labels, seen_plain = stream.labels[rows], over(rows, lambda images: embed(model, images), stream)
        own = over(rows, lambda images: features(model, parts[-1], images), stream)
        for known, all_features in ((plain, seen_plain), (prompted, own)):
            for label in range(old, seen):
                known += centroids(all_features[labels == label], label, number)
        learn(identity, slice(old, seen), seen_plain, labels, batch_size)
        if task:
            align(identity, seen, plain, samples)
            align(head, seen, prompted, samples)
        owner = torch.bucketize(torch.arange(seen), torch.tensor(stream.seen), right=True)

        def answer(images: Tensor, seen: int = seen, owner: Tensor = owner) -> Tensor:
            inferred = owner[identity(embed(model, images))[:, :seen].argmax(dim=1)]
            each = torch.stack([features(model, one, images) for one in parts])
            return head(each[inferred, torch.arange(len(images))])

        results.append(accuracy(answer, stream, task))
    return results
