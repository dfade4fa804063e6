"""What analytic classifiers share: sums over projected features, and the random projections in front of them.

A classifier that is solved from sums does not forget: the sums of all tasks are those of one task with all images. For
features ``h`` (``[M]``, after the projection) and targets ``y`` (``[C]``), there are two forms of the same statistic:

- `FeatureSums`: G, the sum of ``h h'``, and Q, the sum of ``h y'``, with one-hot targets the sum of each class. Ridge
  regression with any ridge is solved from it (RanPAC, Fly-CL), and so is linear discriminant analysis.
- `RecursiveRidge`: the inverse of ``G + ridge I`` and the solution, for a ridge that is fixed from the start (ACIL).

Both are in double precision: with more projections than images, G has eigenvalues that are zero, which rounding errors
of single precision exceed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from clsuite.errors import UserError

CHUNK = 1024
"""Images whose products are summed at once; a larger number takes more memory and saves no time."""


class FeatureSums:
    """G and Q, the sums of the outer products of features with themselves and with targets.

    Attributes:
        products: G, float64 ``[M, M]``.
        sums: Q, float64 ``[M, C]``.
        images: Number of features that were added.
    """

    def __init__(self, width: int, classes: int) -> None:
        """Start with no features, for features of a width and a number of classes."""
        self.products = torch.zeros(width, width, dtype=torch.float64)
        self.sums = torch.zeros(width, classes, dtype=torch.float64)
        self.images = 0

    @property
    def bytes(self) -> int:
        """Bytes of both sums."""
        return 8 * (self.products.numel() + self.sums.numel())

    def add(self, features: Tensor, targets: Tensor) -> None:
        """Add features ``[N, M]`` with their targets ``[N, C]``."""
        for part, wanted in zip(features.split(CHUNK), targets.split(CHUNK), strict=True):
            self.products.addmm_(part.double().T, part.double())
            self.sums.addmm_(part.double().T, wanted.double())
        self.images += len(features)

    def ridge_regression(self, ridge: float) -> Tensor:
        """The weights ``(G + ridge I)^-1 Q``, float64 ``[M, C]``; see `solve_ridge`."""
        return solve_ridge(self.products, self.sums, ridge, self.images)

    def state_dict(self) -> dict[str, Any]:
        """The sums, for a checkpoint."""
        return {"products": self.products, "sums": self.sums, "images": self.images}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the sums."""
        self.products, self.sums, self.images = state["products"], state["sums"], state["images"]


class RecursiveRidge:
    """Ridge regression with a fixed ridge by recursive least squares: as the solution of all features at once.

    For a batch X (``[B, M]``) with targets Y, the matrix inversion lemma gives, with ``K = I + X R X'``, the new
    ``R - R X' K^-1 X R`` and the new ``W + R X' K^-1 (Y - X W)``, where R and W are the old ones. The authors of ACIL
    (Zhuang et al., NeurIPS 2022, equations 9 and 10) write ``R_new X'`` for ``R X' K^-1``, which is the same. Neither
    the order of features nor the size of batches matters.

    Attributes:
        inverse: R, the inverse of ``G + ridge I``, float64 ``[M, M]``.
        weights: W, the solution, float64 ``[M, C]``.
    """

    def __init__(self, width: int, classes: int, ridge: float, batch: int) -> None:
        """Start with no features.

        Args:
            width: M, the length of a feature.
            classes: C, the number of targets.
            ridge: The ridge.
            batch: Number of features of an update: each inverts a matrix of this size.
        """
        self.inverse = torch.eye(width, dtype=torch.float64) / ridge
        self.weights = torch.zeros(width, classes, dtype=torch.float64)
        self._ridge, self._batch = ridge, batch

    @property
    def bytes(self) -> int:
        """Bytes of the inverse and the solution."""
        return 8 * (self.inverse.numel() + self.weights.numel())

    def add(self, features: Tensor, targets: Tensor) -> None:
        """Take features ``[N, M]`` with their targets ``[N, C]``, in batches.

        Raises:
            UserError: If the ridge is so small that rounding errors of the inverse are larger than it allows.
        """
        for part, wanted in zip(features.split(self._batch), targets.split(self._batch), strict=True):
            own = part.double()
            spread = self.inverse @ own.T
            root, failed = torch.linalg.cholesky_ex(own @ spread + torch.eye(len(own), dtype=own.dtype))
            if failed:
                raise UserError(
                    f"a ridge of {self._ridge:g} is too small for recursive updates of these features: raise it, or "
                    "use solver 'sums'"
                )
            half = torch.linalg.solve_triangular(root, spread.T, upper=False)
            self.inverse.addmm_(half.T, half, alpha=-1)
            gain = torch.linalg.solve_triangular(root.T, half, upper=True)
            self.weights.addmm_(gain.T, wanted.double() - own @ self.weights)

    def ridge_regression(self, ridge: float) -> Tensor:
        """The solution, float64 ``[M, C]``.

        Raises:
            ValueError: For another ridge than the one from the start.
        """
        if ridge != self._ridge:
            raise ValueError(f"the ridge has been {self._ridge} from the start, and cannot be {ridge}")
        return self.weights

    def state_dict(self) -> dict[str, Any]:
        """The inverse and the solution, for a checkpoint."""
        return {"inverse": self.inverse, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore both."""
        self.inverse, self.weights = state["inverse"], state["weights"]


def solve_ridge(products: Tensor, sums: Tensor, ridge: float, images: int) -> Tensor:
    """The weights ``(G + ridge I)^-1 Q`` in double precision, with the ridge raised if it is too small for that.

    The smallest usable ridge is the larger of M and the number of images, times the machine epsilon, times the trace.

    Args:
        products: G, ``[M, M]``.
        sums: Q, ``[M, C]``.
        ridge: The ridge.
        images: Number of images that G sums over.
    """
    least = max(len(products), images) * torch.finfo(products.dtype).eps * float(products.trace())
    regular = products.clone()
    regular.diagonal().add_(max(ridge, least))
    return torch.cholesky_solve(sums, torch.linalg.cholesky(regular))


class RandomProjection:
    """A random linear map and a nonlinearity behind it, on the device of the features.

    Attributes:
        matrix: float32 ``[d, M]``. It is not a part of checkpoints, but drawn again from its generator.
    """

    def __init__(self, matrix: Tensor, activation: Callable[[Tensor], Tensor]) -> None:
        """Project by a matrix ``[d, M]``, and apply a function ``[N, M]`` to ``[N, M]``."""
        self.matrix, self._activation = matrix, activation

    @property
    def width(self) -> int:
        """M, the number of projections."""
        return self.matrix.shape[1]

    def __call__(self, features: Tensor) -> Tensor:
        """Project features ``[N, d]`` to ``[N, M]``."""
        return self._activation(features @ self.matrix.to(features.device))


class FourierFeatures:
    """Random Fourier features, whose inner products approximate the RBF kernel ``exp(-gamma |f - g|^2)``.

    Rahimi & Recht, "Random features for large-scale kernel machines" (NeurIPS 2007): ``sqrt(2 / M) cos(f W + b)`` with
    W drawn from N(0, 2 gamma), and b uniformly from [0, 2 pi].

    Attributes:
        gamma: The kernel's gamma; None until `fit`, if it follows from the first features.
    """

    def __init__(self, width: int, size: int, gamma: float | None, generator: torch.Generator) -> None:
        """Draw W and b.

        Args:
            width: d, the length of a feature.
            size: M, the number of random features.
            gamma: The kernel's gamma; None takes 1 / (d times the variance of all values of the first features), as
                ``scale`` of scikit-learn's RBFSampler.
            generator: Source of the draws.
        """
        self._matrix = torch.randn(width, size, generator=generator)
        self._shifts = 2 * math.pi * torch.rand(size, generator=generator)
        self.gamma = gamma

    @property
    def width(self) -> int:
        """M, the number of random features."""
        return self._matrix.shape[1]

    @property
    def bytes(self) -> int:
        """Bytes of W and b."""
        return 4 * (self._matrix.numel() + self._shifts.numel())

    def fit(self, features: Tensor) -> None:
        """Determine gamma from the first features ``[N, d]``; it stays the same from then on."""
        if self.gamma is None:
            variance = float(features.double().var(correction=0))
            self.gamma = 1 / (features.shape[1] * variance) if variance > 0 else 1.0

    def __call__(self, features: Tensor) -> Tensor:
        """Map features ``[N, d]`` to ``[N, M]``."""
        matrix, shifts = self._matrix.to(features.device), self._shifts.to(features.device)
        scaled = features * math.sqrt(2 * (self.gamma or 0.0))
        return math.sqrt(2 / self.width) * torch.cos(scaled @ matrix + shifts)

    def state_dict(self) -> dict[str, Any]:
        """Gamma, for a checkpoint; W and b are drawn again."""
        return {"gamma": self.gamma}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore gamma."""
        self.gamma = state["gamma"]
