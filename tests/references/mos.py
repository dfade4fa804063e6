"""MOS: an adapter of each task that is drawn a little to the earlier ones, and chosen anew for each image.

Sun et al., "MOS: model surgery for pre-trained model-based class-incremental learning" (AAAI 2025), and the authors'
code (sun-hailong/AAAI25-MOS, ``models/mos.py``); the merging is the paper's, once a step.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal
from torch.nn import functional as F

from references.common import Head, Stream, accuracy, batches, bundled, linear, over, step
from references.ease import AdaptFormer as Adapter
from references.ease import features


class AdaptFormer(Adapter):
    """That of one block."""


def contrast(rows: Tensor) -> Tensor:
    """Each row is to be most like itself."""
    return F.cross_entropy(rows @ rows.T / 0.8, torch.arange(len(rows)))


@torch.no_grad()
def merge(adapter: nn.ModuleList, kept: list[nn.ModuleList]) -> None:
    for value, *earlier in zip(adapter.parameters(), *(one.parameters() for one in kept), strict=True):
        value.copy_(0.9 * value + 0.1 * torch.stack(earlier).mean(dim=0))


def align(head: Head, gaussians: list[tuple[Tensor, Tensor]], number: int) -> None:
    """Train the head on features drawn from every class's Gaussian."""
    optimizer = torch.optim.SGD(head.parameters(), lr=0.005, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30)
    labels = torch.arange(len(gaussians)).repeat_interleave(number)
    for _ in range(30):
        given = torch.cat([MultivariateNormal(mean, spread).sample((number,)) for mean, spread in gaussians])
        for _, chosen in batches(torch.arange(len(labels)), number):
            step(optimizer, F.cross_entropy(head(given[chosen]), labels[chosen]))
        schedule.step()


def vote(found: list[Tensor], head: Head, prototypes: Tensor, owner: Tensor) -> Tensor:
    """The answer for one image, whose features under each adapter are ``found``."""
    cosines = F.cosine_similarity(found[0][None], prototypes, dim=1)
    chosen = int(owner[cosines.argmax()])
    for _ in range(4):
        logits = head(found[chosen][None])[0]
        if (following := int(owner[logits.argmax()])) == chosen:
            break
        chosen = following
    return logits.softmax(dim=0) + (len(found) * cosines).softmax(dim=0)


def curve(
    stream: Stream,
    seed: int,
    *,
    epochs: int = 5,
    batch_size: int = 32,
    lr: float = 0.3,
    head_lr: float = 0.03,
    head_std: float = 0.001,
) -> list[float]:
    """Accuracy over the seen classes after each task."""
    torch.manual_seed(seed)
    model, head, gaussians, results = bundled().eval().requires_grad_(False), Head(), [], []
    adapter, kept, prototypes = nn.ModuleList(AdaptFormer(192, 16) for _ in model.blocks), [], []
    for task, rows, old, seen in stream.tasks():
        head.append(linear(192, seen - old, head_std))
        groups = [{"params": adapter.parameters(), "lr": lr}, {"params": head[-1].parameters(), "lr": head_lr}]
        optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=5e-4)
        adapter.train()
        for _, chosen in batches(rows, batch_size, epochs):
            given = features(model, adapter, stream.images[chosen])
            loss = 0.1 * contrast(torch.cat([*(mean[None] for mean, _ in gaussians), given]))
            step(optimizer, F.cross_entropy(head[-1](given), stream.labels[chosen] - old) + loss)
            if kept:
                merge(adapter, kept)
        kept.append(copy.deepcopy(adapter).eval())
        under = [over(rows, lambda images, k=k: features(model, kept[k], images), stream) for k in (0, -1)]
        for label in range(old, seen):
            first, mine = (one[stream.labels[rows] == label].double() for one in under)
            prototypes.append(first.mean(dim=0).float())
            gaussians.append((mine.mean(dim=0).float(), (torch.cov(mine.T) + 1e-4 * torch.eye(192)).float()))
        if task:
            align(head, gaussians, 5 * batch_size)
        owner = torch.bucketize(torch.arange(seen), torch.tensor(stream.seen), right=True)

        def answer(images: Tensor, owner: Tensor = owner) -> Tensor:
            found = zip(*(features(model, one, images) for one in kept), strict=True)
            return torch.stack([vote([*of_one], head, torch.stack(prototypes), owner) for of_one in found])

        results.append(accuracy(answer, stream, task))
    return results
