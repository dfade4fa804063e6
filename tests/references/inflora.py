"""InfLoRA: in each task a low-rank branch on keys and values that reads only what earlier tasks leave free.

Liang & Li, "InfLoRA: interference-free low-rank adaptation for continual learning" (CVPR 2024), and the authors' code
(liangyanshuo/InfLoRA, ``methods/inflora.py``): mean of ``x x'`` before a task for A, and after it for DualGPM.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from references.common import Head, Stream, accuracy, adam, attend, batches, bundled, linear, pooled, step, tokens

Branches = list[list[Tensor]]  # of each block A, and B of keys and of values


def features(model: Any, branches: Branches, images: Tensor, seen: list[Tensor] | None = None) -> Tensor:
    """Features; what the attentions are given is kept in `seen`."""
    x = tokens(model, images)
    for block, (a, of_keys, of_values) in zip(model.blocks, branches, strict=True):
        normed = block.norm1(x)
        if seen is not None:
            seen.append(normed.flatten(0, 1))
        q, k, v = block.attn.qkv(normed).chunk(3, dim=2)
        low = normed @ a.T
        x = x + attend(block.attn, q, k + low @ of_keys.T, v + low @ of_values.T)
        x = x + block.mlp(block.norm2(x))
    return pooled(model, x)


@torch.no_grad()
def moments(model: Any, branches: Branches, images: Tensor) -> list[Tensor]:
    """The mean of ``x x'`` of each block."""
    seen: list[Tensor] = []
    features(model, branches, images, seen)
    return [x.double().T @ x.double() / len(x) for x in seen]


def dual_gpm(c: Tensor, m: Tensor, mode: str, least: float) -> tuple[Tensor, str]:
    """The basis and its mode after a task, by the code's rule."""
    total, width = torch.linalg.svdvals(c).square().sum(), len(c)
    if mode == "remove":
        u, s, _ = torch.linalg.svd(c - m @ m.T @ c)
        first = max(int((s.square().cumsum(0) / total < least).sum()), 1)
        share, taken = 1 - s.square().sum() / total, 0 if m.shape[1] else first
        while m.shape[1] and share < least:
            share, taken = share + s[taken].square() / total, taken + 1
        m = torch.cat([m, u[:, :taken]], dim=1)
        if m.shape[1] > width / 2:
            return torch.linalg.svd(m).U[:, m.shape[1] :], "retain"
        return m, mode
    u, s, _ = torch.linalg.svd(m @ m.T @ c)
    share, taken = s.square().sum() / total, 0
    while share >= 1 - least:
        share, taken = share - s[taken].square() / total, taken + 1
    rest = m - u[:, :taken] @ u[:, :taken].T @ m
    return torch.linalg.svd(rest).U[:, : m.shape[1] - taken], mode


def curve(
    stream: Stream,
    seed: int,
    *,
    rank: int = 10,
    energy: float = 0.95,
    epochs: int = 5,
    batch_size: int = 32,
    lr: float = 0.003,
    head_lr: float = 0.003,
    head_std: float = 0.001,
    planned: int = 5,
) -> list[float]:
    """Accuracy over the seen classes after each task."""
    torch.manual_seed(seed)
    model, head, results = bundled().eval().requires_grad_(False), Head(), []
    spaces = [(torch.zeros(192, 0).double(), "remove") for _ in model.blocks]
    branches = [[torch.zeros(rank, 192), torch.zeros(192, rank), torch.zeros(192, rank)] for _ in spaces]
    for task, rows, old, seen in stream.tasks():
        for block, (a, of_keys, of_values) in zip(model.blocks, branches, strict=True):
            block.attn.qkv.weight[192:384] += of_keys.detach() @ a
            block.attn.qkv.weight[384:] += of_values.detach() @ a
        nothing = [[part.detach() * 0 for part in parts] for parts in branches]
        for number, c in enumerate(moments(model, nothing, stream.images[rows])):
            m, mode = spaces[number]
            inside = m @ m.T @ c
            u = torch.linalg.svd(inside if mode == "retain" else c - inside).U
            branches[number] = [u[:, :rank].T.float() / 3**0.5]
            branches[number] += [torch.zeros(192, rank, requires_grad=True) for _ in range(2)]
        head.append(linear(192, seen - old, head_std))
        optimizer = adam([b for parts in branches for b in parts[1:]], lr, head, head_lr)
        for _, chosen in batches(rows, batch_size, epochs):
            logits = head(features(model, branches, stream.images[chosen]))[:, old:]
            step(optimizer, F.cross_entropy(logits, stream.labels[chosen] - old))
        found, least = moments(model, branches, stream.images[rows]), energy + (1 - energy) * task / planned
        spaces = [dual_gpm(c, *space, least) for c, space in zip(found, spaces, strict=True)]
        results.append(accuracy(lambda images: head(features(model, branches, images)), stream, task))
    return results
