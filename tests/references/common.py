"""What the plain loops share: the digits cut into tasks, the bundled backbone in timm's hands, batches and accuracy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

import clsuite
from clsuite.data.datasets import load_table
from clsuite.data.spec import DatasetSpec
from clsuite.scenarios import Scenario, ScenarioSpec, build_scenario

WEIGHTS = Path(clsuite.__file__).parent / "backbones" / "bundled"
Answer = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Stream:
    """Tasks of new classes: images ``[N, 3, H, W]`` as the backbone takes them, labels ``[N]`` by first appearance,
    of each task the rows to train on, the rows to test on, and the number of classes seen up to it; and the number of
    classes that the whole stream would bring."""

    images: Tensor
    labels: Tensor
    train: tuple[Tensor, ...]
    test: tuple[Tensor, ...]
    seen: tuple[int, ...]
    classes: int

    def tasks(self) -> Iterator[tuple[int, Tensor, int, int]]:
        """Number, training rows, classes seen before and classes seen with it, of each task."""
        return zip(range(len(self.seen)), self.train, (0, *self.seen), self.seen, strict=False)


def digits(seed: int, tasks: int = 5, train_per_class: int | None = None) -> Scenario:
    """The first tasks of the quickstart's stream."""
    table = load_table(DatasetSpec(name="digits"), 32)
    return build_scenario(table, ScenarioSpec(tasks=5), seed, train_per_class).first(tasks)


def read(scenario: Scenario) -> Stream:
    """The same rows and labels as tensors; mean and standard deviation of the bundled backbone are 0.5 each."""
    images = torch.from_numpy(np.array(scenario.table.images)).expand(-1, 3, -1, -1).float().div(127.5).sub(1)
    train, test = ([torch.from_numpy(getattr(task, part)) for task in scenario.tasks] for part in ("train", "test"))
    seen = tuple(max(task.classes) + 1 for task in scenario.tasks)
    return Stream(
        images, torch.from_numpy(np.array(scenario.labels)), tuple(train), tuple(test), seen, len(scenario.classes)
    )


def bundled() -> Any:
    """The bundled ViT: two blocks, 16 patches, no class token, mean pooling in front of the last norm."""
    card = json.loads((WEIGHTS / "omniglot_vit.json").read_text())
    model = timm.create_model(card["architecture"], img_size=32, num_classes=0, **card["arguments"])
    weights = load_file(WEIGHTS / "omniglot_vit.safetensors")
    model.load_state_dict({name: value.float() for name, value in weights.items()})
    return model


def embed(model: Any, images: Tensor) -> Tensor:
    """Features ``[B, width]``."""
    features: Tensor = model.forward_head(model.forward_features(images), pre_logits=True)
    return features


def tokens(model: Any, images: Tensor) -> Tensor:
    """What the first block is given, ``[B, patches, width]``."""
    entered: Tensor = model.norm_pre(model._pos_embed(model.patch_embed(images)))
    return entered


def pooled(model: Any, x: Tensor) -> Tensor:
    """Features ``[B, width]`` of what the last block gives."""
    features: Tensor = model.forward_head(model.norm(x), pre_logits=True)
    return features


def attend(attn: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Multi-head attention of ``q [B, N, width]`` to ``k`` and ``v [B, M, width]``, projected."""
    heads = (part.unflatten(2, (attn.num_heads, -1)).transpose(1, 2) for part in (q, k, v))
    mixed: Tensor = attn.proj(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
    return mixed


def linear(width: int, classes: int, std: float) -> nn.Linear:
    """A classifier of weights from N(0, std) and biases of zero."""
    layer = nn.Linear(width, classes)
    nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)
    return layer


class Head(nn.ModuleList):
    """A classifier of one layer a task, their outputs side by side."""

    def forward(self, features: Tensor) -> Tensor:
        """Logits ``[B, classes]``."""
        return torch.cat([layer(features) for layer in self], dim=1)


def batches(rows: Tensor, size: int, epochs: int = 1) -> Iterator[tuple[int, Tensor]]:
    """Epoch and rows of each batch, every epoch in an order of its own; the last batch may be smaller."""
    for epoch in range(epochs):
        for chosen in rows[torch.randperm(len(rows))].split(size):
            yield epoch, chosen


def drawn(exemplars: Tensor, number: int) -> Tensor:
    """Rows of some exemplars, none twice."""
    return exemplars[torch.randperm(len(exemplars))[:number]]


def adam(body: Iterable[Tensor], lr: float, head: nn.Module, head_lr: float) -> torch.optim.Optimizer:
    """A new Adam with a rate of its own for the head."""
    return torch.optim.Adam([{"params": body, "lr": lr}, {"params": head.parameters(), "lr": head_lr}])


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down the loss."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@torch.no_grad()
def over(rows: Tensor, answer: Answer, stream: Stream) -> Tensor:
    """Answers to the images of some rows, 256 at a time."""
    return torch.cat([answer(stream.images[part]) for part in rows.split(256)])


def accuracy(answer: Answer, stream: Stream, task: int) -> float:
    """Per cent of the test images of the tasks up to one that get the highest score for their own class."""
    rows = torch.cat(stream.test[: task + 1])
    right = over(rows, answer, stream).argmax(dim=1) == stream.labels[rows]
    return 100 * right.float().mean().item()
