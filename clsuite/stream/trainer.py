"""A new Lightning trainer without output for each task."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.strategies import SingleDeviceStrategy

from clsuite.config.devices import checked_device
from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.options import TrainingSpec
from clsuite.learner.precision import resolve_precision
from clsuite.private_api import look_up_callbacks_once

Report = Callable[[dict[str, Any]], None]


REPORT_SECONDS = 0.5
"""Minimum time between two reports in an epoch: reading the loss waits for a GPU."""


class ProgressReporter(L.Callback):
    """Reports task, epoch, loss and progress, about twice a second."""

    def __init__(self, report: Report, task: int, tasks: int) -> None:
        """Report for one task of a stream."""
        self._report, self._task, self._tasks, self._last = report, task, tasks, 0.0
        self.final_loss: float | None = None

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, *_: Any) -> None:
        """Report if half a second has passed or the epoch ends."""
        import time

        ends = trainer.is_last_batch or trainer.global_step == trainer.max_steps
        if not ends and time.monotonic() - self._last < REPORT_SECONDS:
            return
        self._last = time.monotonic()
        self.final_loss = float(outputs["loss"])
        assert isinstance(module, Learner)
        done = trainer.global_step / max(1, trainer.estimated_stepping_batches)
        done = (module.plan.round + done) / module.plan.rounds
        self._report(
            {
                "task": self._task,
                "tasks": self._tasks,
                "epoch": trainer.current_epoch,
                "epochs": trainer.max_epochs,
                "loss": self.final_loss,
                "done": (self._task + done) / self._tasks,
            }
        )


class StayingOnDevice(SingleDeviceStrategy):
    """Uses one device, and leaves the model on it at the end of a task.

    Lightning's own strategies move model and optimizer to the CPU after each fit and test. On a GPU, all weights would
    be transferred there and back for each task and each evaluation.
    """

    def teardown(self) -> None:
        """Release everything except the model."""
        self.precision_plugin.teardown()
        assert self.accelerator is not None
        self.accelerator.teardown()
        self.checkpoint_io.teardown()


def make_trainer(options: TrainingSpec, device: torch.device, callbacks: Sequence[L.Callback]) -> L.Trainer:
    """Create the trainer of one task, without logger, checkpoints and output.

    The environment is Lightning's default one: on Slurm, Lightning would take a job with several tasks for one
    training. PyTorch's deterministic mode also fills all allocated memory, which takes time and changes no result, so
    this is switched off.
    """
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    look_up_callbacks_once()
    return L.Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=[device.index or 0] if device.type == "cuda" else 1,
        strategy=StayingOnDevice(device),
        precision=resolve_precision(options.precision, device),
        max_epochs=options.epochs,
        max_steps=-1 if options.steps is None else options.steps,
        gradient_clip_val=options.gradient_clip,
        callbacks=list(callbacks),
        plugins=[LightningEnvironment()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        deterministic="warn",
    )


def release_optimizers(trainer: L.Trainer) -> None:
    """Release the optimizers of a used trainer, whose state may be twice the size of the trained weights.

    Reference cycles keep a used trainer alive until Python collects them, and its optimizers with it.
    """
    trainer.strategy.optimizers = []
    trainer.strategy.lr_scheduler_configs = []


def find_device(asked: str) -> torch.device:
    """Return the device of a run.

    Args:
        asked: ``auto`` (the first GPU, or else the CPU), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises:
        UserError: If there is no such device.
    """
    if checked_device(asked) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(asked)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"device '{asked}' is not available: only Apple's processors have it")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device '{asked}' is not available: {torch.cuda.device_count()} GPUs were found")
    return device
