"""What all probes share: readings, the context they are made in, and features of their images."""

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
from clsuite.learner.features import FeatureStore
from clsuite.learner.finite import FIX, WRONG
from clsuite.learner.learner import Learner
from clsuite.plugin.own_class import Files


@dataclass(frozen=True)
class Reading:
    """The result of a probe at one moment.

    Attributes:
        value: An accuracy in [0, 1], or another quantity; None if it is undefined for the method, or was not measured.
        higher_is_better: Whether higher values mean more retained knowledge.
        correct: Number of correct predictions, if the value is an accuracy.
        n: Number of predictions, if the value is an accuracy.
    """

    value: float | None
    higher_is_better: bool
    correct: int | None = None
    n: int | None = None

    def missing(self) -> Reading:
        """The same reading without a value, shown as a dash."""
        return replace(self, value=None, correct=None)

    @classmethod
    def accuracy(cls, right: Tensor) -> Reading:
        """The accuracy of predictions, from bool ``[N]``: whether each is correct."""
        correct, n = int(right.sum()), len(right)
        return cls(correct / n, True, correct, n)


Measure = Callable[[Learner], dict[str, Reading]]


@dataclass(frozen=True)
class ProbeContext:
    """The context in which probes are made: the configured backbone, and the places of data and of class files."""

    backbone: BackboneSpec
    weights: Weights
    data_root: Path | None
    files: Files = field(default_factory=dict)


class Features:
    """Features of a probe's images by the current backbone; computed only once while the backbone is frozen.

    A plugin may train in a phase of its own between two readings, at both of which the backbone is frozen. What is kept
    is therefore forgotten whenever the learner forgets the features that it keeps itself.
    """

    def __init__(
        self, table: ImageTable, rows: NDArray[np.int64], view: Callable[[Backbone], Backbone] | None = None
    ) -> None:
        """Store which images are used, and what is done with the backbone; nothing is computed yet."""
        self._table, self._rows, self._view = table, rows, view
        self._kept: Tensor | None = None
        self._kept_of: tuple[FeatureStore, int] | None = None

    def of(self, learner: Learner) -> Tensor:
        """Features ``[len(rows), width]``, on the compute device.

        Raises:
            UserError: If a value is not finite.
        """
        store: FeatureStore | None = getattr(learner, "store", None)  # a learner that has not started has none
        kept_of = (store, store.discarded) if learner.frozen and store is not None else None
        if self._kept is None or kept_of is None or kept_of != self._kept_of:
            self._kept_of = kept_of
            backbone = self._view(learner.backbone) if self._view else learner.backbone
            with learner.autocast():
                self._kept = learner.feature_source(backbone, self._table, self._rows)
            if not bool(torch.isfinite(self._kept).all()):
                raise UserError(f"the features of a probe's {len(self._rows)} images are {WRONG}: {FIX}")
        return self._kept
