"""CODA-Prompt: each image's prompt is a sum of components, weighted by attended cosines to its frozen features.

Smith et al., "CODA-Prompt: continual decomposed attention-based prompting for rehearsal-free continual learning" (CVPR
2023), section 4, and the authors' code (GT-RIPL/CODA-Prompt, ``models/zoo.py``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from references import common
from references.common import Head, Stream, adam, batches, over

Parts = list[dict[str, Tensor]]


def orthonormal(number: int, old: list[Tensor], width: int) -> nn.Parameter:
    """Gram-Schmidt: new rows of unit length, orthogonal to each other and to the old ones."""
    rows = [row for part in old for row in part]
    for _ in range(number):
        row = torch.randn(width)
        for other in rows:
            row = row - (row @ other) / (other @ other) * other
        rows.append(row / row.norm())
    return nn.Parameter(torch.stack(rows[-number:]))


def together(parts: Parts, name: str) -> Tensor:
    """The rows of all tasks, those of earlier ones at rest."""
    return torch.cat([part[name].detach() for part in parts[:-1]] + [parts[-1][name]])


def prompt(parts: Parts, query: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values ``[B, length / 2, width]`` of one block (equations 3 to 6)."""
    attended = F.normalize(query[:, None] * together(parts, "A"), dim=2)
    weights = torch.einsum("bkd,kd->bk", attended, F.normalize(together(parts, "K"), dim=1))
    keys, values = (weights @ together(parts, "P")).unflatten(1, (-1, query.shape[1])).chunk(2, dim=1)
    return keys, values


def orthogonality(parts: Parts) -> Tensor:
    """Equation 7 of one block."""
    grams = (rows @ rows.T - torch.eye(len(rows)) for rows in (together(parts, name) for name in "PKA"))
    return torch.stack([gram.square().mean() for gram in grams]).sum()


def features(model: Any, blocks: list[Parts], images: Tensor, query: Tensor) -> Tensor:
    x = common.tokens(model, images)
    for block, parts in zip(model.blocks, blocks, strict=True):
        q, k, v = block.attn.qkv(block.norm1(x)).chunk(3, dim=2)
        keys, values = prompt(parts, query)
        x = x + common.attend(block.attn, q, torch.cat([keys, k], dim=1), torch.cat([values, v], dim=1))
        x = x + block.mlp(block.norm2(x))
    return common.pooled(model, x)


def curve(
    stream: Stream,
    seed: int,
    *,
    share: int = 20,
    length: int = 8,
    penalty: float = 0.1,
    epochs: int = 5,
    batch_size: int = 32,
    lr: float = 0.01,
    head_lr: float = 0.003,
    head_std: float = 0.001,
) -> list[float]:
    """Accuracy over the seen classes after each task; each task adds its share of components to every block."""
    torch.manual_seed(seed)
    model = common.bundled().eval().requires_grad_(False)
    widths = {"P": 192 * length, "K": 192, "A": 192}
    blocks: list[Parts] = [[] for _ in model.blocks]
    head, results = Head(), []
    queries = torch.zeros(len(stream.images), 192)
    for task, rows, old, seen in stream.tasks():
        head.append(common.linear(192, seen - old, head_std))
        queries[rows] = over(rows, lambda images: common.embed(model, images), stream)
        for parts in blocks:
            known = {name: [part[name].detach() for part in parts] for name in widths}
            parts.append({name: orthonormal(share, known[name], width) for name, width in widths.items()})
        new = [value for parts in blocks for value in parts[-1].values()]
        optimizer = adam(new, lr, head, head_lr)
        for _, chosen in batches(rows, batch_size, epochs):
            logits = head(features(model, blocks, stream.images[chosen], queries[chosen]))[:, old:]
            loss = F.cross_entropy(logits, stream.labels[chosen] - old)
            common.step(optimizer, loss + penalty * torch.stack([orthogonality(parts) for parts in blocks]).sum())
        results.append(
            common.accuracy(lambda x: head(features(model, blocks, x, common.embed(model, x))), stream, task)
        )
    return results
