"""A module that goes on from task to task, and copies of it as the tasks left it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsuite.data.batch import Batch
from clsuite.peft.base import PET, only
from clsuite.peft.build import PetKind, attach_pet
from clsuite.peft.protocols import Host


class TaskModules:
    """One module that every task trains on, and a frozen copy of it from each task's end.

    All are attached and registered before the stream, so that what trains before a task finds them; copies rest until
    features under them are asked for. Features of test images under a copy are kept while a run lasts, as neither it
    nor the backbone changes; whatever changes the backbone forgets them (``learner.forget_features``).

    Attributes:
        current: The module that is trained.
        kept: The copies, by number; the first ones are of the tasks that have ended.
    """

    def __init__(self, learner: Host, plugin: Any, copies: int, kind: PetKind, **build: Any) -> None:
        """Freeze the backbone, and attach the module and its copies.

        Args:
            learner: The learner.
            plugin: The plugin that owns them.
            copies: How many there may be.
            kind: Kind of module.
            build: Arguments of `build_pet`.
        """
        self._learner = learner
        self.current = attach_pet(learner, plugin, "current", kind, **build)
        of_copy = {**build, "generator": torch.Generator()}  # what they begin with is never used
        self.kept = [attach_pet(learner, plugin, f"kept{number}", kind, **of_copy) for number in range(copies)]
        for module in self.kept:
            module.rest()
        self._stores = [learner.store.fresh() for _ in self.kept]

    @property
    def _all(self) -> Sequence[PET]:
        return [*self.kept, self.current]

    def keep(self, number: int) -> None:
        """Copy the current module."""
        self.fill(number, self.current.state_dict())

    def fill(self, number: int, values: dict[str, Tensor]) -> None:
        """Give a copy other values; what is known of its features is forgotten."""
        self.kept[number].load_state_dict(values)
        self._stores[number] = self._learner.store.fresh()

    def values(self, copies: int) -> dict[str, Tensor]:
        """Parameters of the first copies, ``[copies, ...]`` by name."""
        states = [module.state_dict() for module in self.kept[:copies]]
        return {name: torch.stack([state[name] for state in states]) for name in states[0]}

    def mean(self, copies: int) -> dict[str, Tensor]:
        """Mean of the parameters of the first copies, by name."""
        return {name: values.mean(dim=0) for name, values in self.values(copies).items()}

    @torch.no_grad()
    def move(self, values: Mapping[str, Tensor], share: float) -> None:
        """Move the parameters of the current module that are named by a share towards other values."""
        for name, value in self.current.named_parameters():
            if name in values:
                value.lerp_(values[name].to(value.device), share)

    def drawn_in(self, mean: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
        """Make the current module the mean of a number of earlier ones, where there are any.

        Returns:
            The mean of these and of what the module was.
        """
        trained = {name: value.clone() for name, value in self.current.state_dict().items()}
        before = mean or trained
        self.current.load_state_dict(before)
        return {name: before[name].to(value.device).lerp(value, 1 / (number + 1)) for name, value in trained.items()}

    @torch.no_grad()
    def of_rows(self, number: int, rows: NDArray[np.int64]) -> Tensor:
        """Features ``[len(rows), width]`` of rows of the table under a copy; they are not kept."""
        store = self._learner.store.fresh()
        with self._learner.autocast(), only(self._all, number):
            store.add(self._learner.backbone, rows)
        return store.lookup(torch.from_numpy(rows))

    @torch.no_grad()
    def of_batch(self, number: int, batch: Batch) -> Tensor:
        """Features ``[B, width]`` of evaluation images under a copy; computed once for each image of the table."""
        rows = batch.host.indices
        with self._learner.autocast(), only(self._all, number):
            if (rows >= 0).all():
                self._stores[number].add(self._learner.backbone, rows.numpy())
                return self._stores[number].lookup(batch.indices)
            assert batch.images is not None
            features: Tensor = self._learner.backbone(batch.images)
        return features.float()

    @property
    def bytes(self) -> int:
        """Bytes of one copy."""
        return 4 * self.current.numel
