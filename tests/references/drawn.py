"""What plain loops share that train on features drawn around centroids of each class."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn import functional as F

Gaussian = tuple[int, Tensor, Tensor]
"""Class, mean and variances."""


def seed() -> int:
    """Of the first centroids of a class."""
    return int(torch.randint(2**31 - 1, ()))


def centroids(own: Tensor, label: int, number: int) -> Iterator[Gaussian]:
    """Mean and variances around each centroid of a class."""
    places = torch.from_numpy(KMeans(number, n_init=10, random_state=seed()).fit_predict(own.double().numpy()))
    for one in places.unique():
        part = own[places == one].double()
        spread = part.var(dim=0) if len(part) > 1 else torch.zeros(192)
        yield label, part.mean(dim=0).float(), (spread + 1e-4 * spread.mean().clamp_min(1e-8)).float()


def descend(
    answer: Callable[[Tensor], Tensor],
    data: Callable[[], tuple[Tensor, Tensor]],
    size: int,
    epochs: int,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Train on what the data are in each epoch, in an order of its own; SGD with a half cosine."""
    sgd = isinstance(optimizer, torch.optim.SGD)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs) if sgd else None
    for _ in range(epochs):
        inputs, labels = data()
        for chosen in torch.randperm(len(labels)).split(size):
            optimizer.zero_grad()
            F.cross_entropy(answer(inputs[chosen]), labels[chosen]).backward()
            optimizer.step()
        if schedule:
            schedule.step()


def align(net: nn.Module, seen: int, known: list[Gaussian], samples: int, epochs: int = 30, lr: float = 5e-3) -> None:
    """Train a net on features drawn for all classes seen, by SGD with a half cosine."""
    labels = torch.tensor([label for label, _, _ in known]).repeat_interleave(samples)
    means, deviations = (torch.stack([one[place] for one in known]) for place in (1, 2))

    def draw() -> tuple[Tensor, Tensor]:
        noise = torch.randn(len(known), samples, 192) * deviations.sqrt()[:, None]
        return (means[:, None] + noise).flatten(0, 1), labels

    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    descend(lambda inputs: net(inputs)[:, :seen], draw, samples, epochs, optimizer)


def identity_net(classes: int) -> nn.Sequential:
    """Two layers with twice the width between them, and a linear one."""
    layers = nn.Linear(192, 384), nn.ReLU(), nn.Linear(384, 192), nn.ReLU(), nn.Linear(192, classes)
    return nn.Sequential(*layers)


def learn(net: nn.Module, classes: slice, features: Tensor, labels: Tensor, size: int) -> None:
    """Learn the classes of a task among each other, by 20 epochs of Adam."""
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-4)
    descend(lambda inputs: net(inputs)[:, classes], lambda: (features, labels - classes.start), size, 20, optimizer)
