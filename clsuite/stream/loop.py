"""The stream loop: trains on one task after another, evaluates after each, and can be interrupted at any moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

from clsuite.data.batch import BatchLoader
from clsuite.data.on_device import keep_images
from clsuite.data.stable_random import derive_seed
from clsuite.errors import InputWarning, UserError, warn_of
from clsuite.learner.batch_size import inference_batch_size
from clsuite.learner.compilation import check_compiler, compile_blocks
from clsuite.learner.finite import check_weights
from clsuite.learner.learner import Learner
from clsuite.learner.shared_features import SharedFeatures, Taken
from clsuite.learner.tools import trained_entries
from clsuite.learner.untouched import learner_before
from clsuite.probes.recorder import ProbeRecorder
from clsuite.records import TaskEntry
from clsuite.scenarios import Scenario, Task, check_single_pass
from clsuite.stream import checkpoint
from clsuite.stream.checkpoint import UnfitCheckpointError
from clsuite.stream.clock import Clock, Spent
from clsuite.stream.curves import TrainingCurves
from clsuite.stream.evaluation import AccuracyMatrix
from clsuite.stream.kept_states import KeptStates
from clsuite.stream.listener import StreamListener, sent_to
from clsuite.stream.rounds import train_task
from clsuite.stream.stream_state import restore_stream, stream_state
from clsuite.stream.task_checkpoint import TaskCheckpoint, UnfitStateError, task_path
from clsuite.stream.trainer import ProgressReporter, Report, make_trainer
from clsuite.stream.within_task import WithinTask
from clsuite.stream.within_task_spec import CURVE_POINTS, EvaluationSpec

KNOWN_FEATURES = 128
"""Size of an evaluation batch whose features are all known."""


@dataclass
class Stream:
    """One learner on one stream.

    Attributes:
        learner: The learner, which is not started yet.
        scenario: The stream.
        device: The compute device.
        checkpoint_path: File of the checkpoints at task boundaries; None writes none.
        identity: Key of the run; checkpoints of other runs are ignored.
        report: Receives progress events.
        probes: Probes that are measured at each evaluation.
        evaluation: Evaluation within tasks; None for none.
        observers: Lightning callbacks that observe the training and change nothing.
        listener: Receives what is measured; None if nobody listens.
        curve_points: Maximum number of points of each training curve in a task.
        checkpoint_minutes: Minutes between checkpoints within a task; None writes none.
        shared: Features on disk that runs share; None computes all features.
        kept: Keeps the state after each task; None keeps none.
        tasks: Costs of each finished task.
        matrix: The accuracy matrix so far.
        within_task: The accuracy within tasks so far, if it is measured.
        curves: The training curves so far.
        taken: The shared features that were read so far.
        taken_seconds: Seconds that these took to compute, in training and in evaluations after tasks.
    """

    learner: Learner
    scenario: Scenario
    device: torch.device
    checkpoint_path: Path | None = None
    identity: str = ""
    report: Report = field(default=lambda event: None)
    probes: ProbeRecorder = field(default_factory=ProbeRecorder)
    evaluation: EvaluationSpec | None = None
    observers: Sequence[L.Callback] = ()
    listener: StreamListener | None = None
    curve_points: int = CURVE_POINTS
    checkpoint_minutes: float | None = None
    shared: SharedFeatures | None = None
    kept: KeptStates | None = None
    tasks: list[TaskEntry] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Create the recorders of the matrix and of the curves."""
        self.matrix = AccuracyMatrix(self.scenario, self.learner.open_vocabulary)
        spec, seed = self.evaluation, self.learner.seed
        self.taken, self.taken_seconds = Taken(), (0.0, 0.0)
        if self.shared is not None:
            self.taken, self.learner.feature_source = self.shared.taken, self.shared.features_of
        self._clock = Clock(self.taken)
        self.within_task = WithinTask(self.matrix, spec, seed, self._clock) if spec else None
        self.curves = TrainingCurves(self.curve_points)

    def run(self) -> None:
        """Train and evaluate each task that is not done yet.

        Raises:
            UnfitCheckpointError: If the checkpoint does not fit; the stream cannot be used any more then.
        """
        from_memory = any(plugin.traits.from_memory for plugin in self.learner.plugins)
        check_single_pass(self.scenario.kind, self.learner.options.epochs, from_memory)
        self._move()
        state = self._saved()
        if state is None:
            self._read_before()
        self._start()
        done = 0 if state is None else self._resume(state)
        if self.listener is not None:
            self.learner.log_to = sent_to(self.curves.log, self.listener.on_value)
            self.listener.on_stream_begin(self)
        for task in self.scenario.tasks[done:]:
            self._learn(task)
            self._leave(task)
            self._save(task.index + 1)
            if self.learner.together is not None:
                self.learner.together.wait()

    def _move(self) -> None:
        """Move the learner, and the images if there is room for them, to the device."""
        self.learner.to(self.device)
        keep_images(self.scenario.table.images, self.device)

    def _start(self) -> None:
        """Prepare the learner for the stream."""
        self.learner.start(self.scenario)
        self.learner.log_to = self.curves.log
        if self.learner.options.compile:
            check_compiler(self.device)
            compile_blocks(self.learner.backbone.model)

    def _leave(self, task: Task) -> None:
        """Leave a task unless it is the last one, and keep its state."""
        kept = None if self._is_further_rank else self.kept
        if kept is not None:
            kept.remember_evaluated(self.learner, task.index + 1)
        if task is not self.scenario.tasks[-1]:
            self.learner.leave_task(task)
        if kept is not None:
            kept.keep(self.learner, task.index + 1, self.matrix.arrays())

    @property
    def _is_further_rank(self) -> bool:
        """Whether this is not the first of several processes that train together; only the first one saves."""
        return self.learner.together is not None and self.learner.together.rank > 0

    def _read_before(self) -> None:
        """Fill the first row and measure the probes, before any training."""
        plain = self._untrained()
        self._evaluate(plain, make_trainer(plain.options, self.device, [self.matrix]), 0)
        plain.leave_backbone()

    def _untrained(self) -> Learner:
        """The pre-trained backbone with an untrained head."""
        plain = learner_before(self.learner)
        plain.start(self.scenario)
        plain.begin_task(self.scenario.tasks[0], may_train=False)
        return plain

    def _learn(self, task: Task) -> None:
        L.seed_everything(derive_seed(self.learner.seed, "task", task.index), verbose=False)
        progress = ProgressReporter(self.report, task.index, len(self.scenario.tasks))
        within = self._task_checkpoint(task)
        callbacks = self._begin(task, [progress, *([within] if within else [])])
        started = self._clock.now()
        self.learner.begin_task(task)
        trainable = trained_entries(self.learner)
        frozen = self.learner.frozen and not self.learner.trained_before
        trainer, steps = self._train(task, callbacks, within)
        self._end(task)
        trained = self._clock.now() - started
        self._evaluate(self.learner, trainer, task.index + 1)
        evaluated = self._clock.now() - started - trained
        if within is not None:
            trained += Spent(within.seconds_before)
        if self.within_task is not None:
            self.within_task.finish(task.index + 1, steps)
            trained, evaluated = trained - self.within_task.spent, evaluated + self.within_task.spent
        self.taken_seconds = (self.taken_seconds[0] + trained.taken, self.taken_seconds[1] + evaluated.taken)
        self.curves.finish()
        samples = self.learner.gradient_samples
        self.tasks.append(
            TaskEntry(
                train_seconds=trained.seconds,
                eval_seconds=evaluated.seconds,
                steps=steps,
                gradient_samples=samples,
                final_loss=progress.final_loss,
                trainable_parameters=max(trainable, self.learner.own_trained),
                frozen=frozen,
            )
        )
        if self.listener is not None:
            self.listener.on_evaluated(self, task.index + 1)
        self._report_done(task)

    def _end(self, task: Task) -> None:
        """End a task, and check that all weights are finite, and the same in all processes that train together.

        Raises:
            UserError: If they are not.
        """
        self.learner.to(self.device)
        self.learner.end_task(task)
        if task is self.scenario.tasks[-1]:
            self.learner.end_stream()
        check_weights(self.learner, self.learner.task)
        if self.learner.together is not None:
            self.learner.together.check_agreement(self.learner.parameters())

    def _begin(self, task: Task, last: Sequence[L.Callback]) -> list[L.Callback]:
        """Prepare the callbacks of a task's training."""
        recorders = [self.within_task] if self.within_task else []
        for recorder in recorders:
            recorder.begin()
        self.curves.begin(task.index)
        more = [*([self.kept.begin()] if self.kept else []), *([self.listener] if self.listener else [])]
        return [*self.learner.plugins, self.matrix, *recorders, *self.observers, self.curves, *more, *last]

    def _report_done(self, task: Task) -> None:
        tasks = len(self.scenario.tasks)
        self.report({"task": task.index, "tasks": tasks, "done": len(self.tasks) / tasks})

    def _task_checkpoint(self, task: Task) -> TaskCheckpoint | None:
        """The callback that saves within the task, or resumes from an earlier call's state; None if not needed."""
        if self.checkpoint_path is None:
            return None
        path = task_path(self.checkpoint_path)
        minutes = None if self._is_further_rank else self.checkpoint_minutes
        if minutes is None and not path.exists():
            return None
        recorders = {"curves": self.curves, **({"within": self.within_task} if self.within_task else {})}
        recorders |= {"losses": self.kept.losses} if self.kept else {}
        identity = f"{self.identity} task {task.index}"
        saving = self.listener.before_checkpoint if self.listener else None
        return TaskCheckpoint(path, minutes, identity, self.learner, recorders, saving)

    def _train(
        self, task: Task, callbacks: Sequence[L.Callback], within: TaskCheckpoint | None
    ) -> tuple[L.Trainer, int]:
        """Train a task that has begun; returns its last trainer, and the number of its optimizer steps."""

        def make() -> L.Trainer:
            return make_trainer(self.learner.options, self.device, callbacks)

        if not self.learner.trains_by_gradient(task):
            return make(), 0
        try:
            return train_task(self.learner, task, self.device, make, within)
        except UnfitStateError as error:
            assert self.checkpoint_path is not None
            raise UnfitCheckpointError(task_path(self.checkpoint_path), error.reason) from error

    def _evaluate(self, learner: Learner, trainer: L.Trainer, row: int) -> None:
        rows = self.matrix.begin(row)
        if learner.frozen:
            for part in self.scenario.eval_splits:
                known = part.test[np.isin(part.test, rows)]
                if len(known):
                    learner.features_of(known)
        batch_size = inference_batch_size(self.scenario.table.images.shape, self.device)
        with_images = not learner.have_features(rows, batch_size)
        at_once = KNOWN_FEATURES if learner.frozen else batch_size
        loader = BatchLoader(
            self.scenario.table, self.scenario.labels, rows, at_once, with_images=with_images, device=self.device
        )
        trainer.test(learner, dataloaders=loader, verbose=False)
        learner.to(self.device)
        self.probes.read(learner, row, last=row == len(self.scenario.tasks))

    def _saved(self) -> dict[str, Any] | None:
        state = checkpoint.load(self.checkpoint_path) if self.checkpoint_path else None
        if state is None or state.get("identity") != self.identity:
            return None
        if self.kept is not None and state.get("kept") is None:
            warn_of("the interrupted run kept no states: it begins again from the start, to keep all", InputWarning)
            return None
        return state

    def _resume(self, state: dict[str, Any]) -> int:
        try:
            return restore_stream(self, state)
        except Exception as error:  # a state of another version, or a plugin's own method, may raise any error
            assert self.checkpoint_path is not None
            raise UnfitCheckpointError(self.checkpoint_path, error) from error

    def _save(self, tasks: int) -> None:
        if self.checkpoint_path is None or self._is_further_rank:
            return
        if tasks == len(self.scenario.tasks):
            task_path(self.checkpoint_path).unlink(missing_ok=True)
            return
        try:
            checkpoint.save(stream_state(self, tasks), self.checkpoint_path)
        except UserError as error:
            warn_of(f"{error}. The run continues, but cannot be resumed at this task.", InputWarning)
        task_path(self.checkpoint_path).unlink(missing_ok=True)
