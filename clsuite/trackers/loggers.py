"""Lightning's loggers for the trackers, each for one run, continued where it is resumed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

WANDB_ID = 32
"""Number of characters of a run's key that make the id of its run in Weights & Biases."""
KEY_TAG = "clsuite.key"
"""The tag by which the run of a key is found in MLflow."""


class RunLogger:
    """A logger of a run.

    Attributes:
        one_by_one: Whether each row is stored at once, so that a killed process leaves no row that is not counted.
    """

    one_by_one = False

    def __init__(self, logger: Logger) -> None:
        """Keep Lightning's logger."""
        self.logger = logger

    def describe(self, run: Mapping[str, Any]) -> None:
        """Store the description of the run."""
        self.logger.log_hyperparams(dict(run))

    def log(self, values: Mapping[str, float], number: int) -> None:
        """Store a row."""
        self.logger.log_metrics(dict(values), step=number)

    def flush(self) -> None:
        """Write what is stored to the disk."""
        self.logger.save()

    def finish(self, status: str) -> None:
        """Close the tracker's run.

        Args:
            status: Status of the run.
        """
        self.logger.finalize("success" if status == "done" else status)


class _Wandb(RunLogger):
    one_by_one = True

    def finish(self, status: str) -> None:
        """Close the run, which Lightning leaves to the end of the process."""
        import wandb

        wandb.finish(exit_code=0 if status == "done" else 1)


class _Mlflow(RunLogger):
    one_by_one = True

    def __init__(self, logger: Logger, lock: FileLock | None) -> None:
        """Keep the lock of a local store, which several processes write."""
        super().__init__(logger)
        self._lock = lock

    def describe(self, run: Mapping[str, Any]) -> None:
        """Store the description of the run."""
        with _held(self._lock):
            super().describe(run)

    def log(self, values: Mapping[str, float], number: int) -> None:
        """Store a row."""
        with _held(self._lock):
            super().log(values, number)

    def finish(self, status: str) -> None:
        """Close the run with a status of MLflow."""
        with _held(self._lock):
            self.logger.finalize({"done": "success", "failed": "failed"}.get(status, "KILLED"))


@contextmanager
def _held(lock: FileLock | None) -> Iterator[None]:
    if lock is None:
        yield
        return
    with lock:
        yield


def make_logger(tracker: str, folder: Path, run: Mapping[str, Any], fresh: bool) -> RunLogger:
    """Make the logger of a run.

    Args:
        tracker: The tracker.
        folder: The run's folder of trackers.
        run: The description of the run.
        fresh: Whether the tracker's run begins; what an earlier run of the same key has left is then removed.
    """
    if fresh:
        shutil.rmtree(folder / tracker, ignore_errors=True)
    if tracker == "csv":
        return RunLogger(CSVLogger(folder.parent, folder.name, tracker))
    if tracker == "tensorboard":
        return RunLogger(TensorBoardLogger(folder.parent, folder.name, tracker, default_hp_metric=False))
    return _make_wandb(folder, run) if tracker == "wandb" else _make_mlflow(folder, run, fresh)


def _make_wandb(folder: Path, run: Mapping[str, Any]) -> RunLogger:
    """A run of Weights & Biases, offline unless ``WANDB_MODE`` says otherwise."""
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    logger = WandbLogger(
        name=f"{run['method']}, seed {run['seed']}",
        save_dir=folder,
        version=run["key"][:WANDB_ID],
        offline="WANDB_MODE" not in os.environ,
        project=os.environ.get("WANDB_PROJECT", run["benchmark"]),
        group=run["method"],
        settings=wandb.Settings(console="off", silent=True, disable_git=True, x_disable_stats=True),
    )
    return _Wandb(logger)


def _make_mlflow(folder: Path, run: Mapping[str, Any], fresh: bool) -> RunLogger:
    """A run of MLflow: on the server of ``MLFLOW_TRACKING_URI``, or in a local store for all benchmarks of a folder."""
    from mlflow.tracking import MlflowClient

    server, out = os.environ.get("MLFLOW_TRACKING_URI"), folder.parents[2].absolute()
    lock = None if server else FileLock(out / ".mlflow.lock")
    address = server or f"sqlite:///{out / 'mlflow.db'}"
    with _held(lock):
        logger = MLFlowLogger(
            run["benchmark"],
            run_name=f"{run['method']}, seed {run['seed']}",
            tracking_uri=address,
            tags={KEY_TAG: run["key"]},
            artifact_location=None if server else (out / "mlruns").as_uri(),
            run_id=_earlier_run(MlflowClient(address), run, fresh),
        )
        _ = logger.run_id
    return _Mlflow(logger, lock)


def _earlier_run(client: Any, run: Mapping[str, Any], fresh: bool) -> str | None:
    """The id of the run with the same key, which is deleted if its content begins anew; None if there is none."""
    experiment = client.get_experiment_by_name(run["benchmark"])
    if experiment is None:
        return None
    for found in client.search_runs([experiment.experiment_id], f"tags.`{KEY_TAG}` = '{run['key']}'"):
        if not fresh:
            client.update_run(found.info.run_id, status="RUNNING")
            return str(found.info.run_id)
        client.delete_run(found.info.run_id)
    return None
