"""What all probes build on: a reading, what they are made from, and features of their images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsuite.backbones.spec import BackboneSpec, Weights
from clsuite.backbones.vit import Backbone
from clsuite.data.table import ImageTable
from clsuite.errors import UserError
from clsuite.learner.finite import FIX, WRONG
from clsuite.learner.learner import Learner
from clsuite.plugin.own_class import Files


@dataclass(frozen=True)
class Reading:
    """What a probe reads at one moment.

    Attributes:
        value: An accuracy in [0, 1], or another figure; None where the method has no such thing, or it was not read.
        higher_is_better: Whether more of it is kept knowledge, or loss of it.
        correct: Right answers, where it is an accuracy.
        n: Of how many.
    """

    value: float | None
    higher_is_better: bool
    correct: int | None = None
    n: int | None = None

    def missing(self) -> Reading:
        """The same reading without a value: a dash."""
        return replace(self, value=None, correct=None)

    @classmethod
    def accuracy(cls, right: Tensor) -> Reading:
        """The share of right answers, from bool ``[N]``."""
        correct, n = int(right.sum()), len(right)
        return cls(correct / n, True, correct, n)


Measure = Callable[[Learner], dict[str, Reading]]


@dataclass(frozen=True)
class ProbeContext:
    """What probes are made from: the configured backbone, and where data and the files of classes are."""

    backbone: BackboneSpec
    weights: Weights
    data_root: Path | None
    files: Files = field(default_factory=dict)


class Features:
    """Features of a probe's images by the current backbone; computed once while the backbone is frozen."""

    def __init__(
        self, table: ImageTable, rows: NDArray[np.int64], view: Callable[[Backbone], Backbone] | None = None
    ) -> None:
        """Keep which images, and how the backbone is seen; nothing is computed yet."""
        self._table, self._rows, self._view = table, rows, view
        self._kept: Tensor | None = None
        self._kept_frozen = False

    def of(self, learner: Learner) -> Tensor:
        """Features ``[len(rows), width]``, on the compute device.

        Raises:
            UserError: If one is not finite.
        """
        if self._kept is None or not (learner.frozen and self._kept_frozen):
            self._kept_frozen = learner.frozen
            backbone = self._view(learner.backbone) if self._view else learner.backbone
            with learner.autocast():
                self._kept = learner.feature_source(backbone, self._table, self._rows)
            if not bool(torch.isfinite(self._kept).all()):
                raise UserError(f"the features of a probe's {len(self._rows)} images are {WRONG}: {FIX}")
        return self._kept
