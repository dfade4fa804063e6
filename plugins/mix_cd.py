"""Rehearsal of what is being forgotten, from all earlier data, under a fixed compute budget (mix-cd)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.data.batch import Batch
from clsuite.errors import UserError
from clsuite.learner.learner import Learner, Step
from clsuite.plugin import Plugin, Traits
from clsuite.scenarios import Scenario, Task


class MixCD(Plugin):
    """Keeps all earlier data and rehearses most where the model errs and the one before the task did not.

    "Mitigating forgetting in fine-tuning by prioritised rehearsal of collateral damage" (mix-cd, NAACL Findings 2025):
    storage is free, and what is limited is how many samples are rehearsed. Before a task one pass over the earlier data
    tells what the prior model gets right (of the classes that it knows) and with which loss. The data are parted in
    bins; ``a_k`` is the rate of collateral damage in bin k: of its samples, how many the prior model gets right and the
    current one wrong. It is estimated from the samples that are rehearsed, by the logits that their training step
    computes anyway. Samples are drawn by ``a_k``, uniformly inside a bin, with a floor for every bin.

    What the paper leaves to its setting is a parameter: the floor, the number of bins, and how fast old counts fade.
    A bin with few samples so far is taken to be like all of them together (one sample's weight).

    Args:
        batch_size: Samples rehearsed at each step; null rehearses as many as the batch has.
        bins: What the data are parted by: ``loss`` of the prior model, ``labels``, or ``both``.
        levels: Bins of equal size by the loss (within each class, for ``both``).
        floor: Share of the samples that is drawn uniformly from all earlier data.
        decay: What is left of the counts at each step.
    """

    traits = Traits(
        stores=("exemplars", "statistics"),
        forbids={"all data": "joint training has all data already"},
        paper="mix-cd, NAACL Findings 2025",
    )

    def __init__(
        self,
        batch_size: int | None = None,
        bins: Literal["loss", "labels", "both"] = "both",
        levels: int = 4,
        floor: float = 0.1,
        decay: float = 0.9,
    ) -> None:
        super().__init__()
        if (batch_size is not None and batch_size < 1) or levels < 1:
            raise UserError("mix_cd: batch_size and levels must each be at least 1")
        if not (0 < floor <= 1 and 0 <= decay <= 1):
            raise UserError("mix_cd: floor must be above 0 and at most 1, and decay between 0 and 1")
        self.batch_size, self.bins, self.levels, self.floor, self.decay = batch_size, bins, levels, floor, decay
        self._rows = torch.zeros(0, dtype=torch.int64)
        self._labels, self._bin = torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
        self._right, self._hits, self._draws = torch.zeros(0, dtype=torch.bool), torch.zeros(0), torch.zeros(0)

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Nothing is kept yet."""
        self._size = int(np.prod(scenario.table.images.shape[1:])) + 8

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Let the prior model answer all earlier data, once, and part them in bins."""
        self._random = torch.Generator().manual_seed(learner.generator("mix_cd").initial_seed())
        if not len(self._rows):
            return
        logits = self._prior_logits(learner, task.index)
        self._labels = learner.labels_of(self._rows.numpy()).cpu()
        self._right = logits.argmax(dim=1) == self._labels
        loss = F.cross_entropy(logits, self._labels, reduction="none")
        self._bin = part_in_bins(loss, self._labels, self.bins, self.levels)
        self._place = torch.full((len(learner.scenario.table),), -1)
        self._place[self._rows] = torch.arange(len(self._rows))
        self._hits = self._draws = torch.zeros(int(self._bin.max()) + 1)

    def _prior_logits(self, learner: Learner, tasks: int) -> Tensor:
        """Logits ``[len(rows), known classes]``; task by task, so that a resumed run gets the same bits."""
        known = learner.scenario.seen_classes(tasks)
        answers = torch.zeros(len(learner.scenario.table), known)
        for earlier in {task.fingerprint: task for task in learner.scenario.tasks[:tasks]}.values():
            with torch.no_grad(), learner.autocast():
                logits = learner.head(learner.features_of(earlier.train))
            answers[torch.from_numpy(earlier.train)] = logits[:, :known].float().cpu()
        return answers[self._rows]

    def training_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Add samples of earlier tasks."""
        if not len(self._rows):
            return batch
        number = min(self.batch_size or len(batch), len(self._rows))
        chosen = torch.multinomial(self.weights(), number, generator=self._random)
        rows = self._rows[chosen]
        return batch.extended(learner.images_of(rows.numpy()), self._labels[chosen], rows)

    def rates(self) -> Tensor:
        """The estimated rate of collateral damage of each bin, ``[K]``."""
        overall = self._hits.sum() / self._draws.sum().clamp_min(1e-12)
        return (self._hits + overall) / (self._draws + 1)

    def weights(self) -> Tensor:
        """Probability of each kept sample to be drawn next, ``[len(rows)]``."""
        sizes = torch.bincount(self._bin, minlength=len(self._hits)).float()
        rates = self.rates() * (sizes > 0)
        uniform = sizes / sizes.sum()
        shares = rates / rates.sum() if rates.sum() > 0 else uniform
        mixed = (1 - self.floor) * shares + self.floor * uniform
        return (mixed / sizes.clamp_min(1))[self._bin]

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """Add nothing; count the damage among the samples that this step rehearses."""
        if len(self._rows):
            places = self._place[step.batch.rows[step.batch.replayed].cpu()]
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
        """Images and labels of all tasks so far, and what the last prior model made of those before."""
        statistics = (self._bin, self._right, self._hits, self._draws)
        return {
            "exemplars": self._size * len(self._rows),
            "statistics": sum(tensor.numel() * tensor.element_size() for tensor in statistics),
        }

    def state_dict(self) -> dict[str, Any]:
        """Which rows are kept."""
        return {"rows": self._rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Which rows are kept."""
        self._rows = state_dict["rows"]


def part_in_bins(loss: Tensor, labels: Tensor, by: str, levels: int) -> Tensor:
    """The bin of each sample, int64 ``[N]``.

    Args:
        loss: ``[N]``.
        labels: ``[N]``.
        by: ``loss``, ``labels`` or ``both``.
        levels: Bins of equal size by the loss, within each class for ``both``.
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
