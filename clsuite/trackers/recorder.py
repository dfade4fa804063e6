"""Writes what a run measures into its journal: each optimizer step, and the evaluation after each task."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from clsuite.errors import InputWarning, warn_of
from clsuite.learner.learner import Learner
from clsuite.stream.evaluation import AccuracyMatrix
from clsuite.stream.listener import StreamListener
from clsuite.stream.loop import Stream
from clsuite.trackers.journal import Journal, Kind, Row

AT_ONCE = 64
"""Number of steps after which waiting rows are written: copying each loss from the device would wait for a GPU."""
SECONDS = 5.0
"""Seconds after which waiting rows are written although they are fewer."""
OTHER = re.compile(r"[^\w/. -]+", re.ASCII)
"""Characters that not every tracker accepts in a name."""

Values = dict[str, Tensor | float]


class JournalRecorder(StreamListener):
    """Records a run in its journal; a journal that cannot be written causes one warning, and the run goes on."""

    def __init__(self, path: Path, run: Mapping[str, Any], written: Callable[[], None]) -> None:
        """Open the journal.

        Args:
            path: The journal.
            run: The description of the run.
            written: Called after rows are written.
        """
        self._written = written
        self._waiting: list[tuple[Kind, int, Values]] = []
        self._logged: Values = {}
        self._rates: dict[str, float] = {}
        self._steps = self._samples = 0
        self._last = time.monotonic()
        self._journal: Journal | None = None
        try:
            self._journal = Journal(path)
            self._journal.append([Row("run", 0, run)])
        except OSError as error:
            self._give_up(error)

    @property
    def has_journal(self) -> bool:
        """Whether the journal can be written, as far as is known."""
        return self._journal is not None

    def on_stream_begin(self, stream: Stream) -> None:
        """Record the evaluation before the stream, unless the stream was resumed."""
        self._count(stream)
        if not stream.tasks:
            self.on_evaluated(stream, 0)

    def on_value(self, name: str, value: Tensor | float) -> None:
        """Keep a value that a plugin logs for the next row."""
        self._logged[f"log/{_tidy(name)}"] = value.detach().reshape(()) if isinstance(value, Tensor) else float(value)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note the learning rates, which the schedule changes before the step ends."""
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        names = ["train/lr"] if len(groups) == 1 else [f"train/lr/group_{number}" for number in range(len(groups))]
        self._rates = {name: float(group["lr"]) for name, group in zip(names, groups, strict=True)}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
        """Record a step."""
        assert isinstance(pl_module, Learner)
        assert pl_module.task is not None
        values: Values = {
            "train/loss": outputs["loss"].detach().reshape(()),
            **self._rates,
            "train/gradient_samples": self._samples + pl_module.gradient_samples,
            "train/task": pl_module.task.index,
            "train/epoch": trainer.current_epoch,
            **self._taken(),
        }
        self._waiting.append(("step", self._steps + pl_module.earlier_steps + trainer.global_step, values))
        if len(self._waiting) >= AT_ONCE or time.monotonic() - self._last >= SECONDS:
            self._write()

    def on_evaluated(self, stream: Stream, row: int) -> None:
        """Record the evaluation after a task."""
        self._count(stream)
        values: Values = {"task/steps": self._steps, "task/gradient_samples": self._samples}
        if stream.tasks:
            entry = stream.tasks[-1]
            values |= {"task/train_seconds": entry.train_seconds, "task/eval_seconds": entry.eval_seconds}
        values |= accuracies(stream.matrix, row)
        for probe in stream.probes.entries():
            if (value := probe.values[-1]) is not None:
                values[f"probe/{_tidy(probe.name)}"] = value
        self._waiting.append(("task", row, {**values, **self._taken()}))
        self._write()

    def before_checkpoint(self) -> None:
        """Write the waiting rows, whose steps are not computed again."""
        self._write()

    def close(self) -> None:
        """Write the waiting rows and close the journal."""
        self._write()
        if self._journal is not None:
            try:
                self._journal.close()
            except OSError as error:
                self._give_up(error)

    def _count(self, stream: Stream) -> None:
        self._steps = sum(entry.steps for entry in stream.tasks)
        self._samples = sum(entry.gradient_samples for entry in stream.tasks)

    def _taken(self) -> Values:
        taken, self._logged = self._logged, {}
        return taken

    def _write(self) -> None:
        rows, self._waiting, self._last = self._waiting, [], time.monotonic()
        if self._journal is None or not rows:
            return
        tensors = [value for *_, values in rows for value in values.values() if isinstance(value, Tensor)]
        same = [value.to(tensors[0].device, torch.float32) for value in tensors]
        numbers = iter(torch.stack(same).tolist() if same else [])
        try:
            self._journal.append(
                Row(kind, at, {name: next(numbers) if isinstance(one, Tensor) else one for name, one in values.items()})
                for kind, at, values in rows
            )
            self._written()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._journal = None
        reason = error.strerror or error
        text = f"trackers receive nothing more: the journal cannot be written ({reason}). The run goes on"
        warn_of(text, InputWarning)


def accuracies(matrix: AccuracyMatrix, row: int) -> dict[str, float]:
    """The accuracies of a row of the matrix on the parts that are learned so far: each, and their means.

    With an open vocabulary also those among all names, on all parts.

    Args:
        matrix: The matrix.
        row: Number of tasks that are learned.

    Returns:
        The accuracies by name; before the first task only those among all names.
    """
    parts = matrix.scenario.eval_splits
    found: dict[str, float] = {}
    learned = [part for part in parts if part.learned < row]
    rows = [("accuracy", matrix.class_incremental, learned), ("task_aware", matrix.task_aware, learned)]
    if matrix.open_vocabulary is not None:
        rows.append(("open_vocabulary", matrix.open_vocabulary, [*parts]))
    for name, predicted, tested in rows:
        right = predicted[row] == matrix.labels
        shares = {part.index: float(right[matrix.task == part.index].mean()) for part in tested}
        if shares:
            found[f"{name}/average"] = float(np.mean(list(shares.values())))
            found |= {f"{name}/part_{index}": share for index, share in shares.items()}
    return found


def _tidy(name: str) -> str:
    """A name with the characters that all trackers accept."""
    return OTHER.sub("_", name)
