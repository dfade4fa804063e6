"""The buffer of exemplars that rehearsal methods keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from clsuite.data.batch import Batch
from clsuite.data.buffer_policy import LABEL_BYTES, LOGIT_BYTES, Policy, check_one_of_each, exemplar_capacity
from clsuite.data.on_device import moved
from clsuite.data.table import ImageTable

Images = Tensor | Callable[[NDArray[np.int64]], Tensor]

__all__ = ["ExemplarBuffer", "Policy", "exemplar_capacity", "herding_ranks"]


class StreamOfClasses(Protocol):
    """What a buffer must know of a stream (`clsuite.scenarios.Scenario`)."""

    @property
    def table(self) -> ImageTable:
        """Its images."""
        ...

    @property
    def classes(self) -> Sequence[str]:
        """Its classes."""
        ...

    @property
    def tasks(self) -> Sequence[TrainingData]:
        """Its tasks."""
        ...

    def seen_classes(self, tasks: int) -> int:
        """Number of classes seen in the first tasks."""
        ...


class TrainingData(Protocol):
    """What a buffer must know of a task (`clsuite.scenarios.Task`)."""

    @property
    def train(self) -> NDArray[np.int64]:
        """Indices of its training images."""
        ...


class Reader(Protocol):
    """What a buffer must know of a learner (`clsuite.plugin.Learner`)."""

    def images_of(self, indices: NDArray[np.int64]) -> Tensor:
        """Stored images at indices of the table."""
        ...

    def labels_of(self, indices: NDArray[np.int64]) -> Tensor:
        """Stream labels at indices of the table."""
        ...

    def features_of(self, indices: NDArray[np.int64]) -> Tensor:
        """Features at indices of the table."""
        ...


class ExemplarBuffer:
    """Exemplars as stored images, chosen by keys: every sample gets one key when it is offered, and the smallest stay.

    * ``reservoir``: random keys, the smallest of all stay. This is a uniform sample of everything ever offered, as
      Vitter's algorithm R draws it (1985).
    * ``class_balanced``: random keys, the smallest of each class stay, the capacity shared among the classes seen.
    * ``herding``: the key is the sample's rank in the herding order of its class and task (Rebuffi et al. 2017, iCaRL,
      algorithm 4), the smallest of each class stay (algorithm 5).

    Where the capacity is shared, what small classes leave free goes to the others, so that no place stays empty while
    more was offered (Prabhu et al. 2020, GDumb, algorithm 1). What is left over after equal shares goes to the
    smallest keys, and of equal ones to the newest classes; with fewer places than classes, new classes come in by
    their keys as old ones did.

    It is chosen first, by keys and labels, what stays; then images of that alone are read, and they take the places of
    what leaves. A sample that is kept keeps its place.

    Attributes:
        capacity: Most exemplars kept.
    """

    def __init__(self, capacity: int, policy: Policy) -> None:
        """Make an empty buffer."""
        self.capacity, self.policy = capacity, policy
        self._size = 0
        self._columns = {
            "images": torch.zeros(0, dtype=torch.uint8),
            "labels": torch.zeros(0, dtype=torch.int64),
            "indices": torch.zeros(0, dtype=torch.int64),
            "logits": torch.zeros(0, 0),
            "keys": torch.zeros(0, dtype=torch.float64),
        }

    @classmethod
    def for_stream(
        cls,
        scenario: StreamOfClasses,
        capacity: int | None,
        capacity_bytes: int | None = None,
        *,
        policy: Policy = "reservoir",
        logits: bool = False,
        owner: str = "a buffer",
    ) -> ExemplarBuffer:
        """Make an empty buffer for a stream.

        Args:
            scenario: The stream.
            capacity: Exemplars; None where a size is given.
            capacity_bytes: Bytes; an exemplar is an image, a label and its logits.
            policy: What stays.
            logits: Whether a logit for each class of the stream is stored with an exemplar.
            owner: Name of the plugin that keeps it, for messages.

        Raises:
            UserError: If it holds no exemplar, or, where classes share it, not one of each.
        """
        stored = LOGIT_BYTES * len(scenario.classes) if logits else 0
        each = int(np.prod(scenario.table.images.shape[1:])) + LABEL_BYTES + stored
        held = exemplar_capacity(capacity, capacity_bytes, each, owner)
        check_one_of_each(owner, policy, held, scenario.seen_classes(len(scenario.tasks)))
        return cls(held, policy)

    def __len__(self) -> int:
        return self._size

    @property
    def images(self) -> Tensor:
        """Images, uint8 ``[E, C, H, W]``: like all columns, seen as they are until the next offer."""
        return self._columns["images"][: self._size]

    @property
    def labels(self) -> Tensor:
        """Stream labels, int64 ``[E]``."""
        return self._columns["labels"][: self._size]

    @property
    def indices(self) -> Tensor:
        """Rows of the table, int64 ``[E]``."""
        return self._columns["indices"][: self._size]

    @property
    def logits(self) -> Tensor:
        """What the model answered when they were stored, float32 ``[E, K]``, nan for classes not seen then.

        K is 0 where a method stores no logits.
        """
        return self._columns["logits"][: self._size]

    @property
    def _keys(self) -> Tensor:
        return self._columns["keys"][: self._size]

    @property
    def bytes(self) -> int:
        """Bytes of the stored images and labels."""
        return self.images.numel() + self.labels.numel() * self.labels.element_size()

    @property
    def logit_bytes(self) -> int:
        """Bytes of the stored logits."""
        return self.logits.numel() * self.logits.element_size()

    def add(
        self,
        images: Images,
        labels: Tensor,
        indices: Tensor,
        generator: torch.Generator,
        *,
        features: Tensor | None = None,
        logits: Tensor | None = None,
        again: bool = False,
    ) -> None:
        """Offer new samples; the buffer keeps what its policy chooses.

        Samples of a task that came back and are in the buffer already stay as they are; one that has left the buffer
        gets a new key, as any other sample.

        Args:
            images: uint8 ``[N, C, H, W]``, or what reads the images of some indices, such as ``learner.images_of``: it
                is asked for those alone that stay.
            labels: ``[N]``.
            indices: ``[N]``.
            generator: Source of the random keys (on the CPU).
            features: ``[N, width]``; only herding needs them.
            logits: ``[N, K]`` to be stored with them, the same K each time; nan where there is no answer. Those on
                another device are waited for only where a sample stays.
            again: Whether samples that are in the buffer already are offered like others, so that it may hold a row
                several times, with other logits: a reservoir then samples everything that was offered, not every row.
        """
        keys = None if self.policy == "herding" else torch.rand(len(labels), generator=generator, dtype=torch.float64)
        new = torch.arange(len(labels)) if again else (~torch.isin(indices, self.indices)).nonzero().flatten()
        if keys is None:
            assert features is not None
            held_already = len(labels) - len(new)
            keys = herding_ranks(features, labels, self._most_of_a_class(labels[new]) + held_already)
        keep = self._chosen(torch.cat([self.labels, labels[new]]), torch.cat([self._keys, keys[new]]))
        taken = new[keep[self._size :]]
        places = (~keep[: self._size]).nonzero().flatten()
        places = torch.cat([places, torch.arange(self._size, self._size + len(taken) - len(places))])
        if len(taken):
            answers = torch.zeros(len(taken), 0) if logits is None else logits[moved(taken, logits.device)].cpu()
            pixels = images[taken] if isinstance(images, Tensor) else images(indices[taken].numpy())
            values = {"images": pixels, "labels": labels[taken], "indices": indices[taken], "logits": answers}
            self._write(places, {**values, "keys": keys[taken]})

    def add_task(
        self, learner: Reader, task: TrainingData, generator: torch.Generator, features: Tensor | None = None
    ) -> None:
        """Offer all training samples of a task.

        Args:
            learner: Reads images and labels, and features where the policy needs them.
            task: The task.
            generator: Source of the random keys (on the CPU).
            features: ``[N, width]`` of the samples, where they are known already.
        """
        if self.policy == "herding" and features is None:
            features = learner.features_of(task.train).cpu()
        labels, indices = learner.labels_of(task.train).cpu(), torch.from_numpy(task.train)
        self.add(learner.images_of, labels, indices, generator, features=features)

    def sample(self, number: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw exemplars without replacement (all of them where there are fewer).

        Returns:
            Images, labels and indices.
        """
        chosen = self.sample_indices(number, generator)
        return self.images[chosen], self.labels[chosen], self.indices[chosen]

    def sample_indices(self, number: int, generator: torch.Generator) -> Tensor:
        """Positions ``[min(number, E)]`` of exemplars drawn without replacement."""
        return torch.randperm(len(self), generator=generator)[:number]

    def batch(self, chosen: Tensor, with_images: bool = True) -> Batch:
        """Some exemplars, by position, as a batch of their own; stored logits are its column ``logits``."""
        images = self.images[chosen] if with_images else None
        replayed = torch.ones(len(chosen), dtype=torch.bool)
        return Batch(images, self.labels[chosen], self.indices[chosen], replayed, self.columns_of(chosen))

    def columns_of(self, chosen: Tensor) -> dict[str, Tensor]:
        """What is stored of some exemplars, by position, besides images and labels: ``logits``, where they are."""
        return {"logits": self.logits[chosen]} if self.logits.shape[1] else {}

    def _chosen(self, labels: Tensor, keys: Tensor) -> Tensor:
        """Which of all samples, held and offered, stay, bool ``[N]``."""
        if len(keys) <= self.capacity:
            return torch.ones(len(keys), dtype=torch.bool)
        if self.policy == "reservoir":
            keep = torch.zeros(len(keys), dtype=torch.bool)
            keep[torch.argsort(keys, stable=True)[: self.capacity]] = True
            return keep
        return smallest_of_each_class(labels, keys, self.capacity)

    def _most_of_a_class(self, labels: Tensor) -> int:
        """Most exemplars that a class can have after these labels are offered."""
        counts = torch.unique(torch.cat([self.labels, labels]), return_counts=True)[1]
        return equal_shares(counts, self.capacity)[0] + 1

    def _write(self, places: Tensor, values: dict[str, Tensor]) -> None:
        size = max(self._size, int(places.max()) + 1)
        for name, value in values.items():
            column = self._columns[name]
            if len(column) < size:
                room = min(self.capacity, max(size, 2 * len(column)))
                grown = torch.zeros(room, *value.shape[1:], dtype=value.dtype)
                if self._size:
                    grown[: self._size] = column[: self._size]
                self._columns[name] = column = grown
            column[places] = value
        self._size = size

    def state_dict(self) -> dict[str, Any]:
        """Exemplars and keys."""
        return {name: column[: self._size].clone() for name, column in self._columns.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take exemplars and keys back."""
        self._columns = {name: state[name].clone() for name in self._columns}
        self._size = len(state["labels"])


def smallest_of_each_class(labels: Tensor, keys: Tensor, capacity: int) -> Tensor:
    """Which samples stay where classes share a capacity that is smaller than their number, bool ``[N]``.

    Every class has its smallest keys, in equal shares; what is left over goes to the smallest keys among those that
    come next, of equal ones to the class with the largest label.
    """
    order = torch.argsort(keys, stable=True)
    order = order[torch.argsort(labels[order], stable=True)]
    counts = torch.unique_consecutive(labels[order], return_counts=True)[1]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    share, rest = equal_shares(counts, capacity)
    keep = rank < share
    following = (rank == share).nonzero().flatten()
    following = following[torch.argsort(labels[following], descending=True, stable=True)]
    keep[following[torch.argsort(keys[following], stable=True)][:rest]] = True
    return keep


def equal_shares(counts: Tensor, capacity: int) -> tuple[int, int]:
    """The largest share that every class with so many samples can have, up to its number, and what is then left over.

    Args:
        counts: Samples of each class.
        capacity: Places.
    """
    low, high = 0, int(counts.max()) if len(counts) else 0
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if int(counts.clamp_max(middle).sum()) <= capacity else (low, middle - 1)
    return low, capacity - int(counts.clamp_max(low).sum())


def herding_ranks(features: Tensor, labels: Tensor, limit: int | None = None) -> Tensor:
    """Rank of each sample in the herding order of its class (iCaRL, algorithm 4), float64 ``[N]``.

    Greedily takes the sample that brings the mean of the taken ones nearest to the class mean, on L2-normalized
    features; rank 0 is taken first.

    Args:
        features: ``[N, width]``.
        labels: ``[N]``.
        limit: Samples of a class that are ranked; the ranks of the others are infinite. All where there is none.
    """
    ranks = torch.full((len(labels),), torch.inf, dtype=torch.float64)
    for label in torch.unique(labels):
        members = torch.nonzero(labels == label).flatten()
        ranks[members] = _herd(F.normalize(features[members].double(), dim=1), limit)
    return ranks


def _herd(features: Tensor, limit: int | None) -> Tensor:
    mean, total = features.mean(dim=0), torch.zeros_like(features[0])
    ranks = torch.full((len(features),), torch.inf, dtype=torch.float64)
    left = torch.ones(len(features), dtype=torch.bool)
    for rank in range(len(features) if limit is None else min(limit, len(features))):
        distance = torch.linalg.vector_norm(mean - (total + features) / (rank + 1), dim=1)
        taken = int(distance.masked_fill(~left, float("inf")).argmin())
        ranks[taken], left[taken] = rank, False
        total = total + features[taken]
    return ranks
