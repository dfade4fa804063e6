"""APER with prompts or with scales and shifts: tuned on the first task, class means of plain and tuned features.

Zhou et al., "Revisiting class-incremental learning with pre-trained models" (IJCV 2024), and the authors' code
(LAMDA-CL/LAMDA-PILOT, ``models/aper_vpt.py``, ``models/aper_ssf.py``): prompts begin as zeros, shallow ones in
front of the first block, deep ones of each; scales and shifts are behind every operation and at both ends.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from references.common import Stream, accuracy, adam, attend, batches, bundled, embed, over, step, tokens
from references.ease import Cosine

WIDTHS = [192, 192, 576, 192, 768, 192]  # behind both norms, the projections of the attention, and both layers


class ScaleShift(nn.Module):
    """A scale from N(1, 0.02) and a shift from N(0, 0.02) of each channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale, self.shift = (nn.Parameter(one + 0.02 * torch.randn(1, width)) for one in (1.0, 0.0))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


class Prompted(nn.Module):
    """Tokens of zeros, of which the network's answer holds none."""

    def __init__(self, model: Any, layers: int, length: int) -> None:
        super().__init__()
        self.model, self.tokens = (model,), nn.Parameter(torch.zeros(layers, length, 192))

    def forward(self, images: Tensor) -> Tensor:
        model, length = self.model[0], self.tokens.shape[1]
        x, own = tokens(model, images), self.tokens.unsqueeze(1).expand(-1, len(images), -1, -1)
        for number, block in enumerate(model.blocks):
            if number < len(own):
                x = torch.cat([own[number], x[:, length if number else 0 :]], dim=1)
            x = block(x)
        features: Tensor = model.fc_norm(x[:, length:].mean(dim=1))
        return features


class Modulated(nn.Module):
    """Scales and shifts in every block and at both ends."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = (model,)
        self.parts = nn.ModuleList(ScaleShift(width) for width in [*WIDTHS * len(model.blocks), 192, 192])

    def forward(self, images: Tensor) -> Tensor:
        model, ends = self.model[0], self.parts[-2:]
        x = ends[0](model.patch_embed(images)) + model.pos_embed
        for number, block in enumerate(model.blocks):
            norm1, norm2, qkv, proj, fc1, fc2 = self.parts[6 * number : 6 * number + 6]
            mixed = attend(block.attn, *qkv(block.attn.qkv(norm1(block.norm1(x)))).chunk(3, dim=2))
            x = x + proj(mixed)
            x = x + fc2(block.mlp.fc2(F.gelu(fc1(block.mlp.fc1(norm2(block.norm2(x)))))))
        features: Tensor = ends[1](model.fc_norm(x.mean(dim=1)))
        return features


def curve(
    stream: Stream,
    seed: int,
    *,
    kind: str = "deep",
    length: int = 5,
    epochs: int = 5,
    batch_size: int = 8,
    lr: float = 0.003,
    head_lr: float = 0.003,
) -> list[float]:
    """Accuracy over the seen classes after each task."""
    torch.manual_seed(seed)
    model, sums, results = bundled().eval().requires_grad_(False), list[Tensor](), []
    layers = {"shallow": 1, "deep": len(model.blocks)}
    tuned = Modulated(model) if kind == "ssf" else Prompted(model, layers[kind], length)
    for task, rows, old, seen in stream.tasks():
        head = Cosine(192, seen - old, 1.0)
        optimizer = adam(tuned.parameters(), lr, head, head_lr)
        for _, chosen in batches(rows, batch_size, epochs) if task == 0 else ():
            step(optimizer, F.cross_entropy(head(tuned(stream.images[chosen])), stream.labels[chosen]))

        def both(images: Tensor) -> Tensor:
            return torch.cat([embed(model, images), tuned(images)], dim=1)

        found = over(rows, both, stream)
        sums += [found[stream.labels[rows] == label].mean(dim=0) for label in range(old, seen)]
        means = F.normalize(torch.stack(sums), dim=1)
        results.append(accuracy(lambda images, m=means: F.normalize(both(images), dim=1) @ m.T, stream, task))
    return results
