"""The query of prompt methods: features of the frozen network, computed once per image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsuite.data.batch import Batch
from clsuite.peft.base import PET, only
from clsuite.peft.protocols import Host
from clsuite.scenarios import Task

QueryOf = Literal["plain", "augmented"]


class FrozenQuery:
    """Features of images without augmentation by the backbone with all modules disabled, cached by row of the table."""

    def __init__(self, learner: Host, modules: Sequence[PET]) -> None:
        """Create an empty cache.

        Args:
            learner: The learner; its backbone must be frozen.
            modules: The modules to disable for the query; may grow later.
        """
        self._learner, self._modules = learner, modules
        self._store = learner.store.fresh()

    def of_rows(self, rows: NDArray[np.int64]) -> Tensor:
        """Features ``[len(rows), width]`` of rows of the table."""
        with self._plain():
            self._store.add(self._learner.backbone, rows)
        return self._store.lookup(torch.from_numpy(rows))

    @torch.no_grad()
    def of_batch(self, batch: Batch) -> Tensor:
        """Features ``[B, width]`` of a batch; computed from its images if they are not in the table."""
        indices = batch.host.indices
        if (indices >= 0).all():
            return self.of_rows(indices.numpy())
        assert batch.images is not None
        return self.of_images(batch.images)

    @torch.no_grad()
    def of_images(self, images: Tensor) -> Tensor:
        """Features ``[B, width]`` of transformed images."""
        with self._plain():
            features: Tensor = self._learner.backbone(images)
        return features.float()

    @contextmanager
    def _plain(self) -> Iterator[None]:
        with self._learner.autocast(), only(self._modules, None):
            yield


class RoutedByQuery:
    """Lets a plugin configure its modules by the images' queries before each forward pass of the backbone.

    The plugin's settings are cleared after the pass. The queries of an expected batch (`expect`, from
    ``Plugin.on_before_forward``) are known; for other images they are computed in an additional pass, so that every use
    of the backbone is correct.

    The authors of L2P, DualPrompt and CODA-Prompt compute the query of a training image from its augmented pixels, in a
    second pass through the frozen network in each step. The query of an image without augmentation is computed once.

    Attributes:
        query: The frozen query.
    """

    def __init__(
        self,
        learner: Host,
        modules: Sequence[PET],
        route: Callable[[Tensor, Tensor | None], None],
        of: QueryOf = "plain",
    ) -> None:
        """Register with the learner's backbone, which must be frozen.

        Args:
            learner: The learner.
            modules: The modules to disable for the query; may grow later.
            route: Receives the queries ``[B, width]`` and, in training steps, bool ``[B]``, true for replayed samples.
            of: The image of a query in training: without augmentation (``plain``) or as trained on (``augmented``).
        """
        self.query = FrozenQuery(learner, modules)
        self._augmented = of == "augmented"
        self._learner, self._modules, self._route = learner, modules, route
        self._expected: Batch | None = None
        self._last: tuple[Tensor | None, Tensor] = (None, torch.zeros(0, 0))
        learner.backbone.register_forward_pre_hook(lambda backbone, inputs: self._before(inputs[0]))
        learner.backbone.register_forward_hook(lambda backbone, inputs, output: self._after())

    @property
    def enabled(self) -> bool:
        """Whether any of the modules is enabled, so that passes are routed."""
        return any(module.enabled for module in self._modules)

    def expect(self, batch: Batch) -> None:
        """Announce the batch of the next pass."""
        self._expected = batch

    def prepare(self, task: Task) -> None:
        """Compute the queries of all training images up to a task, part by part: the same bits after a resume."""
        for seen in self._learner.scenario.tasks[: 0 if self._augmented else task.index + 1]:
            self.query.of_rows(seen.train)

    def of_step(self, batch: Batch) -> Tensor:
        """Queries ``[B, width]`` of a training batch, as passed to `route`."""
        return self._of(batch)

    def _before(self, images: Tensor) -> None:
        if not self.enabled:
            return
        batch, self._expected = self._expected, None
        if batch is not None and batch.images is not images:
            batch = None
        query = self.query.of_images(images) if batch is None else self._of(batch)
        replayed = batch.replayed if batch is not None and self._learner.backbone.training else None
        with torch.autocast(images.device.type, enabled=False):  # a selection must not depend on the precision of bf16
            self._route(query, replayed)

    def _of(self, batch: Batch) -> Tensor:
        if not self._augmented or not self._learner.backbone.training:
            return self.query.of_batch(batch)
        if self._last[0] is not batch.images:
            assert batch.images is not None
            self._last = (batch.images, self.query.of_images(batch.images))
        return self._last[1]

    def _after(self) -> None:
        for module in self._modules:
            module.release()
