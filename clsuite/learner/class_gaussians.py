"""Gaussians of the features of each class, from which features are drawn once its images are gone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from clsuite.errors import UserError
from clsuite.plugin.state import tensor_bytes

SpreadKind = Literal["full", "diagonal", "centroids"]
"""Of a class: its covariance, its variances, or the variances around each of some centroids."""
RidgeKind = Literal["relative", "absolute"]
"""What is added to each variance: a share of the mean variance, or the same number everywhere."""
Sampler = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
"""Of a number of features of each Gaussian and the source of the draws: features ``[N, d]`` and labels ``[N]``."""
LEAST = 1e-8
"""Smallest mean variance that a relative ridge is a share of: a class of one image has none."""


class ClassGaussians:
    """Mean and spread of the features of each class: one Gaussian a class, or one for each of its centroids.

    A class that comes again in a later task is pooled with what is known of it, as if all its features had come at
    once; centroids cannot be. Declared in a plugin's ``state``, it is saved, restored and counted.

    Attributes:
        labels: Class of each Gaussian, int64 ``[N]``.
        counts: Number of features of each, int64 ``[N]``.
        means: ``[N, d]``.
        spreads: Covariances ``[N, d, d]``, or variances ``[N, d]``.
    """

    def __init__(
        self,
        width: int,
        kind: SpreadKind = "full",
        ridge: float = 1e-4,
        ridge_kind: RidgeKind = "relative",
        centroids: int = 10,
    ) -> None:
        """Know no class yet.

        Args:
            width: Length of a feature.
            kind: What is kept of a class.
            ridge: What is added to each variance for the draws.
            ridge_kind: Whether that is a share of the Gaussian's mean variance, or the number itself.
            centroids: Number of centroids of a class, fewer where it has fewer features.
        """
        self.kind, self.ridge, self.ridge_kind, self.centroids = kind, ridge, ridge_kind, centroids
        self.labels, self.counts = torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
        self.means, self.spreads = torch.zeros(0, width), torch.zeros(0, *[width] * (2 if kind == "full" else 1))

    def add(self, features: Tensor, labels: Tensor, generator: torch.Generator | None = None) -> None:
        """Take the features of some classes.

        Args:
            features: ``[B, d]``, on any device.
            labels: Their classes ``[B]``.
            generator: Of the first centroids; only centroids need one.

        Raises:
            UserError: If a class comes again, and has centroids.
        """
        features, labels = features.detach().cpu(), labels.cpu()
        for label in labels.unique().tolist():
            own = features[labels == label].double()
            known = (self.labels == label).nonzero().flatten().tolist()
            if known and self.kind == "centroids":
                raise UserError(
                    f"the class {label} comes again, and its centroids cannot be joined with what is new: "
                    "keep full or diagonal covariances on streams where classes come back"
                )
            if known:
                self._pool(known[0], own)
                continue
            for part in self._parts(own, generator):
                self._append(label, part)

    def sampler(self, factors: Tensor | None = None) -> Sampler:
        """What draws features of all classes known now.

        Args:
            factors: What the mean of each class is multiplied with, by label; nothing by default.

        Raises:
            UserError: If the ridge is too small for a covariance.
        """
        means, labels, roots = self.means, self.labels, self._roots()
        if factors is not None:
            means = means * factors[labels][:, None]

        def draw(samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
            noise = torch.randn(len(means), samples, means.shape[1], generator=generator)
            away = noise @ roots.transpose(1, 2) if self.kind == "full" else noise * roots[:, None]
            return (means[:, None] + away).flatten(0, 1), labels.repeat_interleave(samples)

        return draw

    def _roots(self) -> Tensor:
        """Cholesky roots ``[N, d, d]`` of the covariances, or deviations ``[N, d]``, with the ridge."""
        spreads = self.spreads.double()
        variances = spreads.diagonal(dim1=1, dim2=2) if self.kind == "full" else spreads
        least = variances.mean(dim=1).clamp_min(LEAST) if self.ridge_kind == "relative" else torch.ones(len(spreads))
        if self.kind != "full":
            return (spreads + self.ridge * least[:, None]).sqrt().float()
        eye = torch.eye(spreads.shape[1], dtype=spreads.dtype)
        roots, failed = torch.linalg.cholesky_ex(spreads + self.ridge * least[:, None, None] * eye)
        if failed.any():
            raise UserError(
                f"the covariance of class {int(self.labels[failed > 0][0])} is too near to singular to draw features "
                f"from it: ridge is {self.ridge:g}, raise it"
            )
        return roots.float()

    def _parts(self, own: Tensor, generator: torch.Generator | None) -> list[Tensor]:
        if self.kind != "centroids" or len(own) == 1:
            return [own]
        from sklearn.cluster import KMeans

        if generator is None:
            raise ValueError("centroids are begun by draws: give a generator")
        seed = int(torch.randint(2**31 - 1, (), generator=generator))
        different = len(own.unique(dim=0))
        found = KMeans(min(self.centroids, different), n_init=10, random_state=seed).fit_predict(own.numpy())
        places = torch.from_numpy(found)
        return [own[places == one] for one in places.unique()]

    def _append(self, label: int, own: Tensor) -> None:
        mean, spread = own.mean(dim=0), self._spread(own - own.mean(dim=0), len(own))
        self.labels = torch.cat([self.labels, torch.tensor([label])])
        self.counts = torch.cat([self.counts, torch.tensor([len(own)])])
        self.means = torch.cat([self.means, mean[None].float()])
        self.spreads = torch.cat([self.spreads, spread[None].float()])

    def _spread(self, away: Tensor, number: int) -> Tensor:
        """Covariance, or variances, of a number of features by what they are away from their mean."""
        scatter = away.T @ away if self.kind == "full" else away.square().sum(dim=0)
        return scatter / max(1, number - 1)

    def _pool(self, place: int, own: Tensor) -> None:
        """Join new features of a class with its Gaussian."""
        old, new = int(self.counts[place]), len(own)
        apart = own.mean(dim=0) - self.means[place].double()
        away, number = own - own.mean(dim=0), old + new
        within = (old - 1) * self.spreads[place].double() + max(1, new - 1) * self._spread(away, new)
        between = torch.outer(apart, apart) if self.kind == "full" else apart.square()
        means, spreads = self.means.clone(), self.spreads.clone()
        means[place] = (self.means[place].double() + new / number * apart).float()
        spreads[place] = ((within + old * new / number * between) / (number - 1)).float()
        counts = self.counts.clone()
        counts[place] = number
        self.counts, self.means, self.spreads = counts, means, spreads

    @property
    def bytes(self) -> int:
        """Bytes of means and spreads."""
        return tensor_bytes([self.means, self.spreads])

    def state_dict(self) -> dict[str, Any]:
        """All Gaussians."""
        return {"labels": self.labels, "counts": self.counts, "means": self.means, "spreads": self.spreads}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Know the Gaussians again that `state_dict` gave."""
        self.labels, self.counts = state["labels"], state["counts"]
        self.means, self.spreads = state["means"], state["spreads"]
