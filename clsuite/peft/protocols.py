"""What modules need of the learner that they serve in, which stands above them."""

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
        """Compute the features of those rows that are not known yet; returns how many were."""
        ...

    def lookup(self, rows: Tensor) -> Tensor:
        """Features ``[B, width]`` of rows that are known."""
        ...

    def fresh(self) -> Store:
        """An empty store for the same table."""
        ...


class Host(Protocol):
    """A learner that has started on a stream."""

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
        """Its own features."""
        ...

    def generator(self, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
        """A source of random draws that follows from the seed, the task and the purpose alone."""
        ...

    def register_plugin_module(self, plugin: Any, name: str, module: nn.Module) -> None:
        """Register a plugin's module: trained, moved, saved and counted with the learner."""
        ...

    def autocast(self) -> AbstractContextManager[Any]:
        """The run's precision for work outside the trainer."""
        ...
