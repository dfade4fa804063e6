"""The buffer of exemplars that rehearsal methods keep."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.data.batch import Batch
from clsuite.errors import UserError

Policy = Literal["reservoir", "class_balanced", "herding"]


class ExemplarBuffer:
    """Exemplars as stored images, chosen by keys: every sample gets one key when it is offered, and the smallest stay.

    * ``reservoir``: random keys, the smallest of all stay. This is a uniform sample of everything ever offered, as
      Vitter's algorithm R draws it (1985).
    * ``class_balanced``: random keys, the smallest of each class stay, the capacity shared among the classes seen.
    * ``herding``: the key is the sample's rank in the herding order of its class and task (Rebuffi et al. 2017, iCaRL,
      algorithm 4), the smallest of each class stay (algorithm 5).

    Attributes:
        capacity: Most exemplars kept.
        images: uint8 ``[E, C, H, W]``.
        labels: int64 ``[E]`` stream labels.
        rows: int64 ``[E]`` rows of the table.
        logits: float32 ``[E, K]``, what the model answered when they were stored, nan for classes not seen then; K is 0
            where a method stores no logits.
    """

    def __init__(self, capacity: int, policy: Policy) -> None:
        """Make an empty buffer."""
        self.capacity, self.policy = capacity, policy
        self.images = torch.zeros(0, dtype=torch.uint8)
        self.labels = torch.zeros(0, dtype=torch.int64)
        self.rows = torch.zeros(0, dtype=torch.int64)
        self.logits = torch.zeros(0, 0)
        self._keys = torch.zeros(0, dtype=torch.float64)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def bytes(self) -> int:
        """Bytes of the stored images and labels."""
        return self.images.numel() + self.labels.numel() * self.labels.element_size()

    @property
    def logit_bytes(self) -> int:
        """Bytes of the stored logits."""
        return self.logits.numel() * self.logits.element_size()

    def offer(
        self,
        images: Tensor,
        labels: Tensor,
        rows: Tensor,
        generator: torch.Generator,
        *,
        features: Tensor | None = None,
        logits: Tensor | None = None,
    ) -> None:
        """Offer new samples; the buffer keeps what its policy chooses.

        Samples of a task that came back and are in the buffer already stay as they are.

        Args:
            images: uint8 ``[N, C, H, W]``.
            labels: ``[N]``.
            rows: ``[N]``.
            generator: Source of the random keys (on the CPU).
            features: ``[N, width]``; only herding needs them.
            logits: ``[N, K]`` to be stored with them, the same K each time; nan where there is no answer.
        """
        if self.policy == "herding":
            assert features is not None
            keys = herding_ranks(features, labels)
        else:
            keys = torch.rand(len(labels), generator=generator, dtype=torch.float64)
        new = ~torch.isin(rows, self.rows)
        answers = (torch.zeros(len(labels), 0) if logits is None else logits)[new]
        self.images = torch.cat([self.images, images[new]]) if len(self) else images[new]
        self.logits = torch.cat([self.logits, answers]) if len(self) else answers
        self.labels = torch.cat([self.labels, labels[new]])
        self.rows = torch.cat([self.rows, rows[new]])
        self._keys = torch.cat([self._keys, keys[new]])
        self._keep(self._chosen())

    def sample(self, number: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw exemplars without replacement (all of them where there are fewer).

        Returns:
            Images, labels and rows.
        """
        chosen = self.draw(number, generator)
        return self.images[chosen], self.labels[chosen], self.rows[chosen]

    def draw(self, number: int, generator: torch.Generator) -> Tensor:
        """Positions ``[min(number, E)]`` of exemplars drawn without replacement."""
        return torch.randperm(len(self), generator=generator)[:number]

    def batch(self, chosen: Tensor, with_images: bool = True) -> Batch:
        """Some exemplars, by position, as a batch of their own."""
        images = self.images[chosen] if with_images else None
        return Batch(images, self.labels[chosen], self.rows[chosen], torch.ones(len(chosen), dtype=torch.bool))

    def _chosen(self) -> Tensor:
        order = torch.argsort(self._keys, stable=True)
        if self.policy == "reservoir":
            return order[: self.capacity].sort().values
        classes = torch.unique(self.labels).tolist()
        quota, rest = divmod(self.capacity, len(classes))
        kept = [
            order[self.labels[order] == label][: quota + (position < rest)] for position, label in enumerate(classes)
        ]
        return torch.cat(kept).sort().values

    def _keep(self, chosen: Tensor) -> None:
        self.images, self.labels = self.images[chosen], self.labels[chosen]
        self.rows, self._keys = self.rows[chosen], self._keys[chosen]
        self.logits = self.logits[chosen]

    def state_dict(self) -> dict[str, Any]:
        """Exemplars and keys."""
        kept = {"images": self.images, "labels": self.labels, "rows": self.rows, "logits": self.logits}
        return {**kept, "keys": self._keys}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take exemplars and keys back."""
        self.images, self.labels = state["images"], state["labels"]
        self.rows, self._keys, self.logits = state["rows"], state["keys"], state["logits"]


def exemplar_capacity(exemplars: int | None, size: int | None, bytes_per_exemplar: int) -> int:
    """The capacity in exemplars, from exactly one of a number and a size in bytes.

    Raises:
        UserError: If both or none are given, or the size holds no exemplar.
    """
    if (exemplars is None) == (size is None):
        raise UserError("give a buffer either capacity (exemplars) or capacity_bytes, the other one null")
    capacity = exemplars if exemplars is not None else (size or 0) // bytes_per_exemplar
    if capacity < 1:
        raise UserError(
            f"a buffer of {size if exemplars is None else exemplars} holds no exemplar of {bytes_per_exemplar} bytes"
        )
    return capacity


def herding_ranks(features: Tensor, labels: Tensor) -> Tensor:
    """Rank of each sample in the herding order of its class (iCaRL, algorithm 4), float64 ``[N]``.

    Greedily takes the sample that brings the mean of the taken ones nearest to the class mean, on L2-normalised
    features; rank 0 is taken first.

    Args:
        features: ``[N, width]``.
        labels: ``[N]``.
    """
    ranks = torch.zeros(len(labels), dtype=torch.float64)
    for label in torch.unique(labels):
        members = torch.nonzero(labels == label).flatten()
        ranks[members] = _herd(F.normalize(features[members].double(), dim=1))
    return ranks


def _herd(features: Tensor) -> Tensor:
    mean, total = features.mean(dim=0), torch.zeros_like(features[0])
    ranks, left = torch.zeros(len(features), dtype=torch.float64), torch.ones(len(features), dtype=torch.bool)
    for rank in range(len(features)):
        distance = torch.linalg.vector_norm(mean - (total + features) / (rank + 1), dim=1)
        taken = int(distance.masked_fill(~left, float("inf")).argmin())
        ranks[taken], left[taken] = rank, False
        total = total + features[taken]
    return ranks
