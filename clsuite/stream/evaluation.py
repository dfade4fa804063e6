"""The accuracy matrix, which a callback records in one pass over all test parts."""

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
    """Records the predictions of each evaluation; the counts are computed from them.

    Attributes:
        scenario: The stream.
        rows: int64 ``[N]``: index of each test sample in the table.
        class_incremental: int16 ``[T + 1, N]``: stream labels predicted among all seen classes. Row 0 is before any
            training, row ``i + 1`` after task ``i``. Samples of classes that are not seen yet have -1, which counts as
            wrong without a forward pass.
        task_aware: The same, predicted among the seen classes of the sample's part.
        labels: int16 ``[N]``: stream labels of the test samples, part after part.
        task: int16 ``[N]``: evaluation part of each test sample; in most streams that of its task.
    """

    def __init__(self, scenario: Scenario) -> None:
        """Create empty predictions for a stream."""
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
        """Begin the evaluation for a row of the matrix; returns the table's indices of the samples to evaluate."""
        self._begin(row)
        seen = self.scenario.seen_classes(max(row, 1))
        self._masks = part_masks(self.scenario, seen)
        self._columns = np.flatnonzero(self.labels < seen)
        return self.rows[self._columns]

    def on_test_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        """Keep the predictions for a batch on the device until the last batch has passed."""
        logits: Tensor = outputs
        columns = self._columns[self._position : self._position + len(batch)]
        self._position += len(batch)
        masks = moved(self._masks[self.task[columns].astype(np.int64)], logits.device)
        good = torch.isfinite(logits).all().expand(len(batch))
        self._waiting.append(torch.stack([logits.argmax(dim=1), (logits + masks).argmax(dim=1), good.long()]))

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Fill the row of the matrix.

        Raises:
            UserError: If a logit is not finite.
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
        """The arrays of predictions that are stored beside the record."""
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
        """The counts of correct predictions."""
        return rescore(self.arrays())

    def state_dict(self) -> dict[str, Any]:
        """The predictions so far."""
        return {name: torch.from_numpy(getattr(self, name)) for name in ("class_incremental", "task_aware")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the predictions."""
        self.class_incremental = state_dict["class_incremental"].numpy().copy()
        self.task_aware = state_dict["task_aware"].numpy().copy()


def part_masks(scenario: Scenario, seen: int) -> Tensor:
    """Masks ``[parts, seen]``: 0 for the classes of an evaluation part, -inf for the other seen classes."""
    masks = torch.full((len(scenario.eval_splits), seen), float("-inf"))
    for part in scenario.eval_splits:
        masks[part.index, [label for label in part.classes if label < seen]] = 0.0
    return masks
