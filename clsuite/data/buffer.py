"""The exemplar buffer of rehearsal methods."""

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
    """The part of a stream that a buffer needs (`clsuite.scenarios.Scenario`)."""

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
    """The part of a task that a buffer needs (`clsuite.scenarios.Task`)."""

    @property
    def train(self) -> NDArray[np.int64]:
        """Indices of its training images."""
        ...


class Reader(Protocol):
    """The part of a learner that a buffer needs (`clsuite.plugin.Learner`)."""

    def images_of(self, indices: NDArray[np.int64]) -> Tensor:
        """Stored images at indices into the table."""
        ...

    def labels_of(self, indices: NDArray[np.int64]) -> Tensor:
        """Stream labels at indices into the table."""
        ...

    def features_of(self, indices: NDArray[np.int64]) -> Tensor:
        """Features at indices into the table."""
        ...


class ExemplarBuffer:
    """Stores images as exemplars. Each offered sample gets a key, and the samples with the smallest keys are kept.

    * ``reservoir``: random keys, of which the smallest are kept. This is a uniform sample of everything that was ever
      offered, as in Vitter's algorithm R (1985).
    * ``class_balanced``: random keys, of which the smallest of each class are kept; seen classes share the capacity.
    * ``herding``: the key is the sample's rank in the herding order of its class and task (Rebuffi et al. 2017, iCaRL,
      algorithm 4), and the smallest of each class are kept (algorithm 5).

    If classes share the capacity, the unused share of small classes goes to the others, so that no place is empty if
    more samples were offered (Prabhu et al. 2020, GDumb, algorithm 1). The remainder of equal shares goes to the
    smallest keys, and for equal keys to the newest classes. With fewer places than classes, the keys decide for new and
    old classes alike.

    The samples to keep are chosen first, by keys and labels. Then only the images of new ones are read, and replace
    removed exemplars. A kept exemplar keeps its place.

    Attributes:
        capacity: Maximum number of exemplars.
    """

    def __init__(self, capacity: int, policy: Policy) -> None:
        """Create an empty buffer."""
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
        """Create an empty buffer for a stream.

        Args:
            scenario: The stream.
            capacity: Maximum number of exemplars; None if the size is given in bytes.
            capacity_bytes: Maximum number of bytes; an exemplar consists of an image, a label and its logits.
            policy: The selection of exemplars.
            logits: Whether a logit for each class of the stream is stored with an exemplar.
            owner: Name of the plugin with the buffer, for messages.

        Raises:
            UserError: If the capacity is less than one exemplar, or less than one of each class if classes share it.
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
        """Images, uint8 ``[E, C, H, W]``; like all columns, a view that is valid until the next offer."""
        return self._columns["images"][: self._size]

    @property
    def labels(self) -> Tensor:
        """Stream labels, int64 ``[E]``."""
        return self._columns["labels"][: self._size]

    @property
    def indices(self) -> Tensor:
        """Indices into the table, int64 ``[E]``."""
        return self._columns["indices"][: self._size]

    @property
    def logits(self) -> Tensor:
        """The model's logits when they were stored, float32 ``[E, K]``; nan for classes that were not seen then.

        K is 0 if the method stores no logits.
        """
        return self._columns["logits"][: self._size]

    @property
    def keys(self) -> Tensor:
        """The keys by which exemplars were chosen, float64 ``[E]``."""
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
        """Offer new samples; the buffer keeps those that its policy chooses.

        Samples of a recurring task that are already in the buffer do not change. A sample that was removed gets a new
        key, like any other sample.

        Args:
            images: Images, uint8 ``[N, C, H, W]``, or a function that reads the images at indices, such as
                ``learner.images_of``: it is called only for the samples that are kept.
            labels: Stream labels ``[N]``.
            indices: Indices into the table ``[N]``.
            generator: Random number generator of the keys (on the CPU).
            features: Features ``[N, width]``; only herding needs them.
            logits: Logits ``[N, K]`` to store, with the same K each time; nan for unknown ones. Logits on another
                device are copied only if a sample is kept.
            again: Whether samples that are already in the buffer are offered like others. The buffer may then have a
                sample several times, with different logits: a reservoir samples from all offers, not from all samples.
        """
        keys = None if self.policy == "herding" else torch.rand(len(labels), generator=generator, dtype=torch.float64)
        new = torch.arange(len(labels)) if again else (~torch.isin(indices, self.indices)).nonzero().flatten()
        if keys is None:
            assert features is not None
            held_already = len(labels) - len(new)
            keys = herding_ranks(features, labels, self._most_of_a_class(labels[new]) + held_already)
        keep = self._chosen(torch.cat([self.labels, labels[new]]), torch.cat([self.keys, keys[new]]))
        taken = new[keep[self._size :]]
        places = (~keep[: self._size]).nonzero().flatten()
        places = torch.cat([places, torch.arange(self._size, self._size + len(taken) - len(places))])
        if len(taken):
            answers = torch.zeros(len(taken), 0) if logits is None else logits[moved(taken, logits.device)].cpu()
            pixels = images[taken] if isinstance(images, Tensor) else images(indices[taken].numpy())
            values = {"images": pixels, "labels": labels[taken], "indices": indices[taken], "logits": answers}
            self._write(places, {**values, "keys": keys[taken]})

    def put(self, places: Tensor, images: Images, labels: Tensor, indices: Tensor, keys: Tensor) -> None:
        """Store samples at given places, whatever the policy; methods that choose exemplars themselves use it.

        Args:
            places: Positions ``[N]``, of exemplars that are replaced, or the next free ones.
            images: As of `add`.
            labels: Stream labels ``[N]``.
            indices: Indices into the table ``[N]``.
            keys: What the method knows of each, such as a score ``[N]``.
        """
        pixels = images if isinstance(images, Tensor) else images(indices.numpy())
        values = {"images": pixels, "labels": labels, "indices": indices, "logits": torch.zeros(len(labels), 0)}
        self._write(places, {**values, "keys": keys.double()})

    def add_task(
        self, learner: Reader, task: TrainingData, generator: torch.Generator, features: Tensor | None = None
    ) -> None:
        """Offer all training samples of a task.

        Args:
            learner: Reads images and labels, and features if the policy needs them.
            task: The task.
            generator: Random number generator of the keys (on the CPU).
            features: Features ``[N, width]`` of the samples, if they are already known.
        """
        if self.policy == "herding" and features is None:
            features = learner.features_of(task.train).cpu()
        labels, indices = learner.labels_of(task.train).cpu(), torch.from_numpy(task.train)
        self.add(learner.images_of, labels, indices, generator, features=features)

    def sample(self, number: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw exemplars without replacement (all of them if there are fewer).

        Returns:
            Images, labels and indices.
        """
        chosen = self.sample_indices(number, generator)
        return self.images[chosen], self.labels[chosen], self.indices[chosen]

    def sample_indices(self, number: int, generator: torch.Generator) -> Tensor:
        """Draw positions ``[min(number, E)]`` of exemplars without replacement."""
        return torch.randperm(len(self), generator=generator)[:number]

    def batch(self, chosen: Tensor, with_images: bool = True) -> Batch:
        """Return the exemplars at positions as a batch; stored logits are in the column ``logits``."""
        images = self.images[chosen] if with_images else None
        replayed = torch.ones(len(chosen), dtype=torch.bool)
        return Batch(images, self.labels[chosen], self.indices[chosen], replayed, self.columns_of(chosen))

    def columns_of(self, chosen: Tensor) -> dict[str, Tensor]:
        """Return the other columns of the exemplars at positions: ``logits``, if they are stored."""
        return {"logits": self.logits[chosen]} if self.logits.shape[1] else {}

    def _chosen(self, labels: Tensor, keys: Tensor) -> Tensor:
        """Mask of the stored and offered samples to keep, bool ``[N]``."""
        if len(keys) <= self.capacity:
            return torch.ones(len(keys), dtype=torch.bool)
        if self.policy == "reservoir":
            keep = torch.zeros(len(keys), dtype=torch.bool)
            keep[torch.argsort(keys, stable=True)[: self.capacity]] = True
            return keep
        return smallest_of_each_class(labels, keys, self.capacity)

    def _most_of_a_class(self, labels: Tensor) -> int:
        """Maximum number of exemplars that a class can have after these labels are offered."""
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
        """Return exemplars and keys."""
        return {name: column[: self._size].clone() for name, column in self._columns.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore exemplars and keys."""
        self._columns = {name: state[name].clone() for name in self._columns}
        self._size = len(state["labels"])


def smallest_of_each_class(labels: Tensor, keys: Tensor, capacity: int) -> Tensor:
    """Choose the samples to keep if classes share a capacity that is smaller than the number of samples, bool ``[N]``.

    Each class keeps its smallest keys, in equal shares. The remainder goes to the smallest keys that follow, and for
    equal keys to the class with the largest label.
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
    """Compute the largest equal share of the classes, limited by their number of samples, and the remainder.

    Args:
        counts: Number of samples of each class.
        capacity: Number of places.
    """
    low, high = 0, int(counts.max()) if len(counts) else 0
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if int(counts.clamp_max(middle).sum()) <= capacity else (low, middle - 1)
    return low, capacity - int(counts.clamp_max(low).sum())


def herding_ranks(features: Tensor, labels: Tensor, limit: int | None = None) -> Tensor:
    """Compute the rank of each sample in the herding order of its class (iCaRL, algorithm 4), float64 ``[N]``.

    The algorithm greedily selects the sample that brings the mean of the selected ones nearest to the class mean, on
    L2-normalized features. Rank 0 is selected first.

    Args:
        features: Features ``[N, width]``.
        labels: Labels ``[N]``.
        limit: Maximum number of ranked samples of a class; the ranks of others are infinite. By default there is none.
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
