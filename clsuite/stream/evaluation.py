"""The accuracy matrix, recorded through a callback from one joint pass over the test parts."""

from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsuite.data.batch import Batch
from clsuite.data.on_device import moved
from clsuite.learner.finite import wrong_answers
from clsuite.learner.learner import Learner
from clsuite.records import CountsEntry, rescore
from clsuite.scenarios import Scenario

NOT_SEEN = -1


class AccuracyMatrix(L.Callback):
    """Keeps the predictions of every evaluation, from which the counts follow.

    Attributes:
        scenario: The stream.
        rows: int64 ``[N]``: row of the table of each test sample.
        class_incremental: int16 ``[T + 1, N]``: predicted stream labels, all seen classes competing; row 0 before any
            training, row ``i + 1`` after task ``i``; -1 where the sample's classes are not seen yet, which is wrong
            without a forward pass.
        task_aware: The same with only the seen classes of the sample's part competing.
        labels: int16 ``[N]`` stream labels of the test samples, part after part.
        task: int16 ``[N]`` evaluation part of each test sample (the task's own, in most streams).
    """

    def __init__(self, scenario: Scenario) -> None:
        """Make empty predictions for a stream."""
        self.scenario = scenario
        tests = [part.test for part in scenario.eval_splits]
        self.rows = np.concatenate(tests)
        self.labels = scenario.labels[self.rows].astype(np.int16)
        self.task = np.repeat(np.arange(len(tests), dtype=np.int16), [len(rows) for rows in tests])
        shape = (len(scenario.tasks) + 1, len(self.labels))
        self.class_incremental: NDArray[np.int16] = np.full(shape, NOT_SEEN, dtype=np.int16)
        self.task_aware: NDArray[np.int16] = np.full(shape, NOT_SEEN, dtype=np.int16)
        self._begin(0)

    def _begin(self, row: int) -> None:
        self._row, self._position = row, 0
        self._waiting: list[Tensor] = []

    def begin(self, row: int) -> NDArray[np.int64]:
        """Begin the evaluation that fills a row; returns the rows of the table whose classes are seen, in order."""
        self._begin(row)
        seen = self.scenario.seen_classes(max(row, 1))
        self._masks = part_masks(self.scenario, seen)
        self._columns = np.flatnonzero(self.labels < seen)
        return self.rows[self._columns]

    def on_test_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        """Take the logits of one batch; what they say is read when the last batch has passed."""
        logits: Tensor = outputs
        columns = self._columns[self._position : self._position + len(batch)]
        self._position += len(batch)
        masks = moved(self._masks[self.task[columns].astype(np.int64)], logits.device)
        good = torch.isfinite(logits).all().expand(len(batch))
        self._waiting.append(torch.stack([logits.argmax(dim=1), (logits + masks).argmax(dim=1), good.long()]))

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Fill the row.

        Raises:
            UserError: If an answer is not finite.
        """
        assert isinstance(pl_module, Learner)
        answers, masked, good = torch.cat(self._waiting, dim=1).cpu().numpy()
        self._waiting = []
        if not good.all():
            first = self._columns[int(good.argmin())]
            where = f"in part '{self.scenario.eval_splits[self.task[first]].name}'"
            raise wrong_answers(pl_module.plugins, pl_module.task, where)
        self.class_incremental[self._row, self._columns] = answers
        self.task_aware[self._row, self._columns] = masked

    def arrays(self) -> dict[str, NDArray[np.integer]]:
        """The predictions as they are stored beside the record."""
        arrays: dict[str, NDArray[np.integer]] = {
            "class_incremental": self.class_incremental,
            "task_aware": self.task_aware,
            "labels": self.labels,
            "task": self.task,
        }
        if self.scenario.separate_splits:
            arrays["learned"] = np.array([part.learned for part in self.scenario.separate_splits], dtype=np.int16)
        return arrays

    def counts(self) -> CountsEntry:
        """The counts of right answers."""
        return rescore(self.arrays())

    def state_dict(self) -> dict[str, Any]:
        """The predictions so far."""
        return {name: torch.from_numpy(getattr(self, name)) for name in ("class_incremental", "task_aware")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the predictions back."""
        self.class_incremental = state_dict["class_incremental"].numpy().copy()
        self.task_aware = state_dict["task_aware"].numpy().copy()


def part_masks(scenario: Scenario, seen: int) -> Tensor:
    """For each evaluation part ``[C, seen]``: 0 for its classes, -inf for the other seen ones."""
    masks = torch.full((len(scenario.eval_splits), seen), float("-inf"))
    for part in scenario.eval_splits:
        masks[part.index, [label for label in part.classes if label < seen]] = 0.0
    return masks
