"""Rehearsal of what is being forgotten, from all earlier data, under a fixed compute budget (mix-cd)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.plugin import Batch, Learner, Plugin, Scenario, Step, Task, Traits, check_range
from clsuite.plugin.helpers import row_positions, tensor_bytes


class MixCD(Plugin):
    """Keeps all earlier data and rehearses most where the model errs and the one before the task did not.

    Bai, Yeh, Hsieh & Taly, "An efficient rehearsal scheme for catastrophic forgetting mitigation during multi-stage
    fine-tuning" (NAACL Findings 2025). Storage is free; what is limited is the number of samples that are rehearsed.
    Before a task, one pass over the earlier data shows which samples the prior model classifies correctly (among the
    classes that it knows), and with what loss. The samples are divided into bins. ``a_k`` is the rate of collateral
    damage in bin k: the share of its samples that the prior model classifies correctly and the current one does not. It
    is estimated from the rehearsed samples, with the logits that their training step computes anyway. A bin is drawn
    with a probability proportional to ``a_k``, whatever its size, then a sample uniformly inside it, with a minimum
    probability for every sample. If bins differ in size, as the classes of a long-tailed stream do, samples of small
    bins are drawn more often.

    What the paper leaves open is an argument: the minimum probability, the number of bins, and how fast old counts
    decay. The rate of a bin with few samples so far is estimated close to the overall rate (a prior with the weight of
    one sample). Damage is counted on the images that are trained on, so that with augmentation part of it is due to the
    augmentation; the prior model is evaluated without augmentation.

    Args:
        batch_size: Number of samples rehearsed at each step; null rehearses as many as the batch has of its own.
        bins: What the data are divided by: ``loss`` of the prior model, ``labels``, or ``both``.
        levels: Number of bins of equal size by the loss (within each class, for ``both``).
        floor: Share of the samples that is drawn uniformly from all earlier data.
        decay: Factor of the counts at each step. 0.99 averages over about a hundred steps, which some hundred bins need
            to be told apart. (In a simulation with fixed rates and 400 bins it reaches two thirds of the possible gain
            over uniform draws; 0.9 reaches one third.)
    """

    traits = Traits(
        memory=("exemplars", "logits"),
        incompatible_with={
            "all data": "joint training has all data already",
            "counts images": "its samples are drawn at rates that change: how many a class has in a batch is not known",
        },
        second_pass="it keeps all data and passes them through the network at each task",
        paper="Bai, NAACL Findings 2025 (mix-cd)",
        effects=("reads network",),
    )
    state = ("_rows",)

    def __init__(
        self,
        batch_size: int | None = None,
        bins: Literal["loss", "labels", "both"] = "both",
        levels: int = 4,
        floor: float = 0.1,
        decay: float = 0.99,
    ) -> None:
        super().__init__()
        check_range("mix_cd", at_least=1, batch_size=batch_size, levels=levels)
        check_range("mix_cd", above=0, at_most=1, floor=floor)
        check_range("mix_cd", at_least=0, at_most=1, decay=decay)
        self.batch_size, self.bins, self.levels, self.floor, self.decay = batch_size, bins, levels, floor, decay
        self._rows = torch.zeros(0, dtype=torch.int64)
        self._labels = torch.zeros(0, dtype=torch.int64)
        self._put_in_bins(torch.zeros(0, dtype=torch.int64))
        self._right, self._hits, self._draws = torch.zeros(0, dtype=torch.bool), torch.zeros(0), torch.zeros(0)

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Start with no data kept."""
        self._size = int(np.prod(scenario.table.images.shape[1:])) + 8

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Evaluate the prior model on all earlier data, once, and divide them into bins."""
        self._random = learner.generator("mix_cd")
        if not len(self._rows):
            return
        self._labels = learner.labels_of(self._rows.numpy()).cpu()
        loss, self._right = self._prior_answers(learner, task.index)
        self._put_in_bins(part_in_bins(loss, self._labels, self.bins, self.levels))
        self._place = row_positions(len(learner.scenario.table), self._rows.numpy())
        self._hits = self._draws = torch.zeros(len(self._sizes))

    def _put_in_bins(self, bins: Tensor) -> None:
        """Note each sample's bin, and each bin's samples, which `_members` lists bin by bin."""
        self._bin, self._sizes = bins, torch.bincount(bins)
        self._members, self._starts = torch.argsort(bins, stable=True), self._sizes.cumsum(0) - self._sizes

    def _prior_answers(self, learner: Learner, tasks: int) -> tuple[Tensor, Tensor]:
        """Loss of each sample, and whether it is classified correctly, ``[len(indices)]``.

        The data are evaluated task by task, so that a resumed run gives the same values.
        """
        known = learner.scenario.seen_classes(tasks)
        losses = torch.zeros(len(learner.scenario.table))
        right = torch.zeros(len(learner.scenario.table), dtype=torch.bool)
        for earlier in {task.fingerprint: task for task in learner.scenario.tasks[:tasks]}.values():
            with torch.no_grad(), learner.autocast():
                logits = learner.head(learner.features_of(earlier.train))[:, :known].float().cpu()
            indices, labels = torch.from_numpy(earlier.train), learner.labels_of(earlier.train).cpu()
            losses[indices] = F.cross_entropy(logits, labels, reduction="none")
            right[indices] = logits.argmax(dim=1) == labels
        return losses[self._rows], right[self._rows]

    def transform_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Add samples of earlier tasks to the batch."""
        if not len(self._rows):
            return batch
        chosen = self.draw(min(self.batch_size or batch.own, len(self._rows)))
        indices = self._rows[chosen]
        return batch.extended(learner.images_of(indices.numpy()), self._labels[chosen], indices)

    def rates(self) -> Tensor:
        """Estimated rate of collateral damage of each bin, ``[K]``."""
        overall = self._hits.sum() / self._draws.sum().clamp_min(1e-12)
        return (self._hits + overall) / (self._draws + 1)

    def shares(self) -> Tensor:
        """Probability that the next sample is drawn from each bin, ``[K]``."""
        sizes = self._sizes.float()
        rates = self.rates() * (sizes > 0)
        uniform = sizes / sizes.sum()
        by_rate = rates / rates.sum() if rates.sum() > 0 else uniform
        return (1 - self.floor) * by_rate + self.floor * uniform

    def draw(self, number: int) -> Tensor:
        """Draw positions of distinct stored samples: each time a bin by its probability, and then a sample inside it.

        A sample that was drawn before is replaced by another draw, so that the cost depends on the number of draws and
        bins, and not on the size of the data.
        """
        if 4 * number >= len(self._rows):
            weights = (self.shares() / self._sizes.clamp_min(1))[self._bin]
            return torch.multinomial(weights, number, generator=self._random)
        found: dict[int, None] = {}
        shares = self.shares()
        while len(found) < number:
            bins = torch.multinomial(shares, 2 * number, replacement=True, generator=self._random)
            inside = (torch.rand(len(bins), generator=self._random, dtype=torch.float64) * self._sizes[bins]).long()
            found |= dict.fromkeys(self._members[self._starts[bins] + inside].tolist())
        return torch.tensor(list(found)[:number])

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """Add no loss; count the damage among the samples that this step rehearses."""
        if len(self._rows):
            places = self._place[step.batch.indices[step.batch.replayed].cpu()]
            wrong = (step.logits.detach().argmax(dim=1) != step.batch.labels)[step.batch.replayed].cpu()
            wrong, places = wrong[places >= 0], places[places >= 0]
            damaged = (wrong & self._right[places]).float()
            bins = self._bin[places]
            self._hits = (self.decay * self._hits).index_add(0, bins, damaged)
            self._draws = (self.decay * self._draws).index_add(0, bins, torch.ones_like(damaged))
        return None

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Keep the task's data."""
        self._rows = torch.unique(torch.cat([self._rows, torch.from_numpy(task.train)]))

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the images and labels of all tasks so far, and of the prior model's results on earlier ones."""
        answers = [self._bin, self._right, self._hits, self._draws]
        return {"exemplars": self._size * len(self._rows), "logits": tensor_bytes(answers)}


def part_in_bins(loss: Tensor, labels: Tensor, by: str, levels: int) -> Tensor:
    """The bin of each sample, int64 ``[N]``.

    Args:
        loss: Loss of each sample ``[N]``.
        labels: Label of each sample ``[N]``.
        by: ``loss``, ``labels`` or ``both``.
        levels: Number of bins of equal size by the loss, within each class for ``both``.
    """
    groups = torch.zeros_like(labels) if by == "loss" else torch.unique(labels, return_inverse=True)[1]
    if by == "labels":
        return groups
    bins = torch.zeros_like(labels)
    for group in range(int(groups.max()) + 1):
        members = (groups == group).nonzero().flatten()
        rank = loss[members].argsort(stable=True).argsort(stable=True)
        bins[members] = group * levels + rank * levels // len(members)
    return bins
