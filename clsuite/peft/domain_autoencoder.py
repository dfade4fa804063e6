"""Autoencoders of features, each of one task's images: the one with the smallest error says which task they are of."""

from __future__ import annotations

import torch
from torch import Tensor

from clsuite.peft.mixture import Descriptor


class DomainAutoencoder(Descriptor):
    """``sigmoid(up(relu(down(sigmoid(features)))))``, and which errors it usually makes on its own images.

    Yu et al. (CVPR 2024), distribution discriminative auto-selector, on features of the backbone.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Mean squared error ``[B]`` of each of the features ``[B, width]``."""
        targets = features.float().sigmoid()
        errors: Tensor = (self.up(self.down(targets).relu()).sigmoid() - targets).square().mean(dim=1)
        return errors

    def fit(
        self,
        features: Tensor,
        steps: int,
        batch_size: int,
        lr: float,
        generator: torch.Generator,
        held_out: float = 0.0,
    ) -> int:
        """Train on the features of a task with Adam, and remember the errors that remain.

        Args:
            features: ``[N, width]``.
            steps: Number of steps.
            batch_size: Features of a step, drawn without repetition.
            lr: Learning rate.
            generator: Source of the draws (on the CPU).
            held_out: Share of the features that is not trained on, and whose errors are remembered in place of those of
                all features. A few hundred features are learned by heart: their errors say nothing about others.

        Returns:
            The number of features that passed backwards.
        """
        held = features
        if number := int(held_out * len(features)):
            order = torch.randperm(len(features), generator=generator).to(features.device)
            held, features = features[order[:number]], features[order[number:]]
        self.requires_grad_(True)
        optimizer, samples = torch.optim.Adam(self.parameters(), lr=lr), 0
        for _ in range(steps):
            rows = torch.randperm(len(features), generator=generator)[:batch_size].to(features.device)
            optimizer.zero_grad()
            self(features[rows]).mean().backward()
            optimizer.step()
            samples += len(rows)
        optimizer.zero_grad()
        self.requires_grad_(False)
        with torch.no_grad():
            self.know(self(held))
        return samples


@torch.no_grad()
def nearest_domain(autoencoders: list[DomainAutoencoder], features: Tensor, threshold: float) -> Tensor:
    """The number of the autoencoder that rebuilds each feature best, or -1 for features that are new to it.

    Args:
        autoencoders: Of each task.
        features: ``[B, width]``.
        threshold: How many deviations above its usual error the best one may be.

    Returns:
        int64 ``[B]``.
    """
    if not autoencoders:
        return torch.full((len(features),), -1, device=features.device)
    with torch.autocast(features.device.type, enabled=False):
        errors = torch.stack([one(features) for one in autoencoders])
        least, best = errors.min(dim=0)
        means = torch.stack([one.mean for one in autoencoders])[best]
        deviations = torch.stack([one.deviation for one in autoencoders])[best]
    return torch.where(least > means + threshold * deviations, -1, best)
