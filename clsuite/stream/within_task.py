"""Accuracy within tasks, measured by a callback on a fixed subset of the test images, without influence on training."""

from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray

from clsuite.data.batch import Batch
from clsuite.data.stable_random import stable_random
from clsuite.learner.free_training import modes_and_draws_restored
from clsuite.learner.learner import Learner
from clsuite.probes.probes import predict_rows
from clsuite.records import CurveEntry, WithinTaskEntry
from clsuite.scenarios import SINGLE_PASS
from clsuite.stream.clock import Clock, Spent
from clsuite.stream.evaluation import AccuracyMatrix, part_masks
from clsuite.stream.exposure import Exposure
from clsuite.stream.within_task_spec import EvaluationSpec


class WithinTask(L.Callback):
    """Evaluates the method's current predictions in the middle of training.

    The last point of each task's curve is the evaluation after the task. It is taken from the accuracy matrix and costs
    nothing. It is the only point of a task without optimizer steps.

    On single-pass streams, the accuracy on the classes that training has used so far is measured too.

    Attributes:
        spent: Time of these evaluations since the task began.
    """

    def __init__(self, matrix: AccuracyMatrix, spec: EvaluationSpec, seed: int, clock: Clock) -> None:
        """Choose the test images, which are the same for all methods of a seed."""
        self._matrix, self._spec, self._clock, self.spent = matrix, spec, clock, Spent()
        self._parts = matrix.scenario.eval_splits
        self._columns = _choose_columns(matrix, spec.samples, seed)
        self._labels, self._task = matrix.labels[self._columns], matrix.task[self._columns]
        self._finished: list[CurveEntry] = []
        self._points: dict[int, tuple[list[int], list[int]]] = {}
        self._exposure = Exposure(matrix, self._columns) if matrix.scenario.kind in SINGLE_PASS else None

    def begin(self) -> None:
        """Begin the curve of a task."""
        self._points, self.spent = {}, Spent()
        if self._exposure is not None:
            self._exposure.begin(len(self._finished))

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Evaluate before the first step of each round."""
        assert isinstance(pl_module, Learner)
        if pl_module.earlier_steps not in self._points:
            self._read(pl_module, pl_module.earlier_steps)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        """Evaluate if it is time; after the last step of a round, the next round or the end of the task does it."""
        if self._exposure is not None:
            self._exposure.meet(batch.host.labels.numpy())
        assert isinstance(pl_module, Learner)
        step = pl_module.earlier_steps + trainer.global_step
        continues = trainer.global_step < trainer.estimated_stepping_batches
        if self._spec.wants(step) and step not in self._points and continues:
            self._read(pl_module, step)

    def finish(self, row: int, steps: int) -> None:
        """End the curve of a task with a row of the matrix."""
        learned = self._learned(row - 1)
        self._points[steps] = (
            self._count(self._matrix.class_incremental[row, self._columns], learned),
            self._count(self._matrix.task_aware[row, self._columns], learned),
        )
        points = sorted(self._points.items())
        exposed = None
        if self._exposure is not None:
            exposed = self._exposure.finish(row, steps)
        self._finished.append(
            CurveEntry(
                steps=[step for step, _ in points],
                class_incremental=[counts for _, (counts, _) in points],
                task_aware=[counts for _, (_, counts) in points],
                exposed=exposed,
            )
        )

    def entry(self) -> WithinTaskEntry:
        """The curves in the form of a record."""
        return WithinTaskEntry(
            every=self._spec.every,
            n=np.bincount(self._task, minlength=len(self._parts)).tolist(),
            learned=[part.learned for part in self._parts],
            tasks=self._finished,
        )

    def state_dict(self) -> dict[str, Any]:
        """The curves of the finished tasks."""
        return {"tasks": [curve.model_dump() for curve in self._finished]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the curves."""
        self._finished = [CurveEntry(**curve) for curve in state_dict["tasks"]]

    def _learned(self, task: int) -> NDArray[np.bool_]:
        return np.array([part.learned <= task for part in self._parts])

    def _read(self, module: L.LightningModule, step: int) -> None:
        assert isinstance(module, Learner)
        assert module.task is not None
        started = self._clock.now()
        learned = self._learned(module.task.index)
        asked = learned[self._task]
        if self._exposure is not None:
            asked |= self._exposure.asked
        chosen = np.flatnonzero(asked)
        predicted = np.full((3, len(self._columns)), -1, dtype=np.int64)
        if len(chosen):
            with modes_and_draws_restored(module):
                predicted[:, chosen] = self._predict(module, chosen)
        if self._exposure is not None:
            self._exposure.read(step, predicted[2])
        self._points[step] = (self._count(predicted[0], learned), self._count(predicted[1], learned))
        self.spent += self._clock.now() - started

    def _predict(self, learner: Learner, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        if learner.frozen:  # compute whole parts as the matrix does: it then finds the same bits in the cache
            for part in self._parts:
                if part.index in self._task[chosen]:
                    learner.features_of(part.test)
        logits = predict_rows(learner, self._matrix.rows[self._columns[chosen]])
        masks = part_masks(self._matrix.scenario, logits.shape[1])[self._task[chosen].astype(np.int64)]
        among = logits if self._exposure is None else logits + self._exposure.mask(logits.shape[1])
        return torch.stack([one.argmax(dim=1) for one in (logits, logits + masks, among)]).numpy()

    def _count(self, predicted: NDArray[np.integer], learned: NDArray[np.bool_]) -> list[int]:
        correct = (predicted == self._labels) & learned[self._task]
        counts: list[int] = np.bincount(self._task[correct], minlength=len(self._parts)).tolist()
        return counts


def _choose_columns(matrix: AccuracyMatrix, samples: int, seed: int) -> NDArray[np.int64]:
    """Choose at most `samples` columns of each part, balanced over its classes as far as their sizes allow."""
    chosen = []
    for part in range(len(matrix.scenario.eval_splits)):
        columns = np.flatnonzero(matrix.task == part)
        columns = stable_random(seed, "within task", part).permutation(columns)
        labels = matrix.labels[columns]
        rank = np.zeros(len(columns), dtype=np.int64)
        for label in np.unique(labels):
            rank[labels == label] = np.arange((labels == label).sum())
        chosen.append(np.sort(columns[np.argsort(rank, kind="stable")[:samples]]))
    return np.concatenate(chosen)
