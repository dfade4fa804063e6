"""The interface that modules need of their learner, which is in a higher layer of clsuite."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clsuite.backbones.vit import Backbone
from clsuite.scenarios import Scenario


class Store(Protocol):
    """Features by row of the table."""

    def add(self, backbone: Backbone, rows: NDArray[np.int64]) -> int:
        """Compute the missing features of some rows; returns how many were missing."""
        ...

    def lookup(self, rows: Tensor) -> Tensor:
        """Features ``[B, width]`` of rows that have been added."""
        ...

    def fresh(self) -> Store:
        """An empty store for the same table."""
        ...


class Host(Protocol):
    """A learner that has started a stream."""

    @property
    def backbone(self) -> Backbone:
        """The pre-trained network."""
        ...

    @property
    def scenario(self) -> Scenario:
        """The stream."""
        ...

    @property
    def store(self) -> Store:
        """The learner's own features."""
        ...

    def generator(self, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
        """A source of random numbers that depends only on the seed, the task and the purpose."""
        ...

    def register_plugin_module(self, plugin: Any, name: str, module: nn.Module) -> None:
        """Register a plugin's module: trained, moved, saved and counted with the learner."""
        ...

    def autocast(self) -> AbstractContextManager[Any]:
        """A context with the run's precision, for computations outside the trainer."""
        ...
