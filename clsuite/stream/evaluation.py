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

    A method with an open vocabulary predicts classes by their names: its predictions are recorded for all test samples,
    also of classes that are not seen yet. In each row they are what the model predicts when it is evaluated.

    Attributes:
        scenario: The stream.
        rows: int64 ``[N]``: index of each test sample in the table.
        class_incremental: int16 ``[T + 1, N]``: stream labels predicted among all seen classes. Row 0 is before any
            training, row ``i + 1`` after task ``i``. Samples of classes that are not seen yet have -1, which counts as
            wrong without a forward pass.
        task_aware: The same, predicted among the seen classes of the sample's part; with an open vocabulary, among all
            classes of the part, so that no sample has -1.
        open_vocabulary: Stream labels predicted among all classes of the stream, learned or not; None for a method
            without an open vocabulary.
        labels: int16 ``[N]``: stream labels of the test samples, part after part.
        task: int16 ``[N]``: evaluation part of each test sample; in most streams that of its task.
    """

    def __init__(self, scenario: Scenario, open_vocabulary: bool = False) -> None:
        """Create empty predictions for a stream.

        Args:
            scenario: The stream.
            open_vocabulary: Whether the method predicts classes by their names.
        """
        self.scenario = scenario
        tests = [part.test for part in scenario.eval_splits]
        self.rows = np.concatenate(tests)
        self.labels = scenario.labels[self.rows].astype(np.int16)
        self.task = np.repeat(np.arange(len(tests), dtype=np.int16), [len(rows) for rows in tests])
        shape = (len(scenario.tasks) + 1, len(self.labels))
        self.class_incremental: NDArray[np.int16] = np.full(shape, NOT_SEEN, dtype=np.int16)
        self.task_aware: NDArray[np.int16] = np.full(shape, NOT_SEEN, dtype=np.int16)
        self.open_vocabulary: NDArray[np.int16] | None = (
            np.full(shape, NOT_SEEN, dtype=np.int16) if open_vocabulary else None
        )
        self._begin(0)

    def _begin(self, row: int) -> None:
        self._row, self._position = row, 0
        self._waiting: list[Tensor] = []

    def begin(self, row: int) -> NDArray[np.int64]:
        """Begin the evaluation for a row of the matrix; returns the table's indices of the samples to evaluate."""
        self._begin(row)
        self._seen = self.scenario.seen_classes(max(row, 1))
        is_open = self.open_vocabulary is not None
        self._masks = part_masks(self.scenario, self.scenario.stream_classes if is_open else self._seen)
        self._columns = np.flatnonzero(is_open | (self.labels < self._seen))
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
        known = logits[:, : masks.shape[1]]
        among = [known[:, : self._seen], known + masks, *([known] if self.open_vocabulary is not None else [])]
        self._waiting.append(torch.stack([good.long(), *(scores.argmax(dim=1) for scores in among)]))

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Fill the row of the matrix.

        Raises:
            UserError: If a logit is not finite.
        """
        assert isinstance(pl_module, Learner)
        good, *answers = torch.cat(self._waiting, dim=1).cpu().numpy()
        self._waiting = []
        if not good.all():
            first = self._columns[int(good.argmin())]
            where = f"in part '{self.scenario.eval_splits[self.task[first]].name}'"
            raise wrong_answers(pl_module.plugins, pl_module.task, where)
        for name, predicted in zip(self._predicted, answers, strict=True):
            getattr(self, name)[self._row, self._columns] = predicted
        self.class_incremental[self._row, self.labels >= self._seen] = NOT_SEEN

    def arrays(self) -> dict[str, NDArray[np.integer]]:
        """The arrays of predictions that are stored beside the record."""
        arrays: dict[str, NDArray[np.integer]] = {
            "class_incremental": self.class_incremental,
            "task_aware": self.task_aware,
            "labels": self.labels,
            "task": self.task,
        }
        if self.open_vocabulary is not None:
            arrays["open_vocabulary"] = self.open_vocabulary
        if self.scenario.separate_splits:
            arrays["learned"] = np.array([part.learned for part in self.scenario.separate_splits], dtype=np.int16)
        return arrays

    def counts(self) -> CountsEntry:
        """The counts of correct predictions."""
        return rescore(self.arrays())

    def state_dict(self) -> dict[str, Any]:
        """The predictions so far."""
        return {name: torch.from_numpy(getattr(self, name)) for name in self._predicted}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the predictions."""
        for name in self._predicted:
            setattr(self, name, state_dict[name].numpy().copy())

    @property
    def _predicted(self) -> tuple[str, ...]:
        """Names of the arrays that evaluations fill."""
        names = ("class_incremental", "task_aware")
        return names if self.open_vocabulary is None else (*names, "open_vocabulary")


def part_masks(scenario: Scenario, classes: int) -> Tensor:
    """Masks ``[parts, classes]`` of the first classes: 0 for those of an evaluation part, -inf for the others."""
    masks = torch.full((len(scenario.eval_splits), classes), float("-inf"))
    for part in scenario.eval_splits:
        masks[part.index, [label for label in part.classes if label < classes]] = 0.0
    return masks
