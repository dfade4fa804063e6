"""A fresh, quiet Lightning trainer for each task."""

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

Report = Callable[[dict[str, Any]], None]


REPORT_SECONDS = 0.5
"""Between two looks at the loss in an epoch; a look waits for a GPU."""


class ProgressReporter(L.Callback):
    """Reports task, epoch, loss and the share of the task that is done, about twice a second."""

    def __init__(self, report: Report, task: int, tasks: int) -> None:
        """Report for one task of a stream."""
        self._report, self._task, self._tasks, self._last = report, task, tasks, 0.0
        self.final_loss: float | None = None

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, *_: Any) -> None:
        """Report if half a second has passed or the epoch ends."""
        import time

        ends = trainer.is_last_batch
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
    """Computes on one device, and leaves the model there at the end of a task.

    Lightning's own strategies move model and optimizer to the CPU after each fit and test: on a GPU a transfer of all
    weights, there and back, for each task and each evaluation.
    """

    def teardown(self) -> None:
        """Release what the task needed, but for the model."""
        self.precision_plugin.teardown()
        assert self.accelerator is not None
        self.accelerator.teardown()
        self.checkpoint_io.teardown()


def make_trainer(options: TrainingSpec, device: torch.device, callbacks: Sequence[L.Callback]) -> L.Trainer:
    """Make the trainer of one task: no logger, no checkpoints of its own, nothing printed.

    A run is one process whatever started it: Lightning would take a job of Slurm's with several tasks for one training.
    PyTorch's deterministic mode also overwrites all memory that is allocated, which takes time and changes no result;
    that is switched off.
    """
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    return L.Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=[device.index or 0] if device.type == "cuda" else 1,
        strategy=StayingOnDevice(device),
        precision=resolve_precision(options.precision, device),
        max_epochs=options.epochs,
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
    """Let a trainer that has fitted go of its optimizer, whose state is twice the size of what it trained.

    A used trainer stays alive in its reference cycles until Python happens to collect them, and with it, task after
    task, would its optimizer.
    """
    trainer.strategy.optimizers = []
    trainer.strategy.lr_scheduler_configs = []


def find_device(asked: str) -> torch.device:
    """The device of a run.

    Args:
        asked: ``auto`` (the first GPU, or else the CPU), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises:
        UserError: If there is no such device.
    """
    if checked_device(asked) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(asked)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"device '{asked}' is not available: it is that of Apple's processors")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device '{asked}' is not available: {torch.cuda.device_count()} GPUs were found")
    return device
