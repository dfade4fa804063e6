"""The query of prompt methods: the frozen network's own features, computed once per image."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsuite.data.batch import Batch
from clsuite.learner.features import FeatureStore
from clsuite.learner.learner import Learner
from clsuite.peft.base import PET


class FrozenQuery:
    """Features of un-augmented images by the backbone with all modules switched off, kept by row of the table."""

    def __init__(self, learner: Learner, modules: Sequence[PET]) -> None:
        """Keep nothing yet.

        Args:
            learner: Its backbone must be frozen.
            modules: What is switched off for the query; may grow later.
        """
        self._learner, self._modules = learner, modules
        self._store = FeatureStore(learner.scenario)

    def of_rows(self, rows: NDArray[np.int64]) -> Tensor:
        """Features ``[len(rows), width]`` of rows of the table."""
        with self._plain():
            self._store.add(self._learner.backbone, rows)
        return self._store.lookup(torch.from_numpy(rows))

    @torch.no_grad()
    def of_batch(self, batch: Batch) -> Tensor:
        """Features ``[B, width]`` of a batch; computed from its images where they are not the table's."""
        if (batch.rows >= 0).all():
            return self.of_rows(batch.rows.cpu().numpy())
        assert batch.images is not None
        with self._plain():
            features: Tensor = self._learner.backbone(batch.images)
        return features.float()

    def _plain(self) -> ExitStack:
        stack = ExitStack()
        stack.enter_context(self._learner.autocast())
        for module in self._modules:
            stack.enter_context(module.switched(False))
        return stack
