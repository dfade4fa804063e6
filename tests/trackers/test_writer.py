"""Lightning's loggers receive a journal: what each wrote is read back, whole after an interruption."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from offline_wandb import read_run

from clsuite.trackers import writer
from clsuite.trackers.journal import Journal, Row
from clsuite.trackers.process import ALIVE
from clsuite.trackers.writer import write

ALL = ("csv", "tensorboard", "wandb", "mlflow")
RUN = {
    "benchmark": "tiny", "method": "lora", "seed": 3, "key": "0123456789abcdef" * 4, "plugins": ["pet"],
    "training": {"epochs": 2, "optimizer": {"lr": 0.001}},
}  # fmt: skip


def step(number: int) -> Row:
    return Row("step", number, {"train/loss": 1 / number, "train/lr": 0.001})


def task(number: int) -> Row:
    return Row("task", number, {"accuracy/average": number / 10, "probe/imagenet": 0.5})


def ended(status: str) -> Callable[[], str]:
    return lambda: status


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What loggers set in the environment does not outlast a test, and what a developer has set does not reach it."""
    for name in ("WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The place of a journal, as deep as a run's."""
    return tmp_path / "runs" / "tiny" / "lora" / "seed3.journal"


def append(journal: Path, *rows: Row) -> None:
    opened = Journal(journal)
    opened.append([Row("run", 0, RUN), *rows])
    opened.close()


def of_csv(folder: Path, name: str) -> list[tuple[int, float]]:
    rows = csv.DictReader((folder / "csv" / "metrics.csv").open())
    return [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]


def of_tensorboard(folder: Path, name: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    return [(event.step, pytest.approx(event.value)) for event in events.Scalars(name)]


def of_wandb(folder: Path, name: str) -> list[tuple[int, float]]:
    key, rows = read_run(folder / "wandb")
    assert key == RUN["key"][:32]  # type: ignore[index]
    return [(row["trainer/global_step"], row[name]) for row in rows if name in row]


def runs_of_mlflow(folder: Path) -> tuple[Any, list[Any]]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder.parents[2] / 'mlflow.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name == "tiny"]
    return client, client.search_runs([experiment.experiment_id])


def of_mlflow(folder: Path, name: str) -> list[tuple[int, float]]:
    client, (run,) = runs_of_mlflow(folder)
    return sorted((metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name))


@pytest.mark.slow
def test_each_tracker_has_every_row_once_in_one_run_after_an_interruption(journal: Path) -> None:
    folder, told = journal.with_suffix(".trackers"), list[str]()
    append(journal, task(0), step(1), step(2), task(1), step(3))
    write(journal, ALL, ended("interrupted"), told.append)
    assert journal.exists()
    assert runs_of_mlflow(folder)[1][0].info.status == "KILLED"
    append(journal, step(3), step(4), task(2))  # the resumed run computes its third step again
    write(journal, ALL, ended("done"), told.append)
    assert set(told) == {ALIVE}
    for read in (of_csv, of_tensorboard, of_wandb, of_mlflow):
        assert read(folder, "train/loss") == [(1, 1.0), (2, 1 / 2), (3, pytest.approx(1 / 3)), (4, 1 / 4)], read
        assert read(folder, "accuracy/average") == [(0, 0.0), (1, 0.1), (2, 0.2)], read
    assert len(list((folder / "wandb").glob("offline-run-*"))) == 2
    _, (run,) = runs_of_mlflow(folder)
    assert (run.info.run_name, run.info.status) == ("lora, seed 3", "FINISHED")
    assert run.data.params["training/optimizer/lr"] == "0.001"
    assert run.data.tags["clsuite.key"] == RUN["key"]
    assert "lr: 0.001" in (folder / "csv" / "hparams.yaml").read_text()
    assert not journal.exists()
    assert not list(folder.glob("*.position"))


@pytest.mark.slow
def test_a_run_that_is_repeated_begins_its_trackers_anew(journal: Path) -> None:
    folder, chosen = journal.with_suffix(".trackers"), ("csv", "tensorboard", "mlflow")
    for last in (3, 2):
        append(journal, *(step(number) for number in range(1, last + 1)))
        write(journal, chosen, ended("done"), lambda message: None)
    for read in (of_csv, of_tensorboard, of_mlflow):
        assert read(folder, "train/loss") == [(1, 1.0), (2, 0.5)], read


def test_a_tracker_that_fails_is_told_once_and_left_to_a_later_call(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, told, make = journal.with_suffix(".trackers"), list[str](), writer.make_logger

    def with_full_disk(tracker: str, *more: Any, **named: Any) -> Any:
        made = make(tracker, *more, **named)
        if tracker == "tensorboard":
            monkeypatch.setattr(made, "flush", lambda: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        return made

    append(journal, step(1), step(2))
    with monkeypatch.context() as full:
        full.setattr(writer, "make_logger", with_full_disk)
        write(journal, ("tensorboard", "csv"), ended("done"), told.append)
    (line,) = [message for message in told if message != ALIVE]
    assert line == (
        "the tracker 'tensorboard' has failed and is left out: OSError: [Errno 28] No space left on device. "
        "The run goes on"
    )
    assert of_csv(folder, "train/loss") == [(1, 1.0), (2, 0.5)]
    write(journal, ("tensorboard", "csv"), ended("done"), told.append)  # the journal is still there
    assert of_tensorboard(folder, "train/loss") == [(1, 1.0), (2, 0.5)]
    assert not journal.exists()


@pytest.mark.slow
def test_a_server_that_is_away_costs_no_other_tracker_a_row(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    told = list[str]()
    append(journal, step(1))
    write(journal, ("csv", "mlflow"), ended("done"), told.append)
    (line,) = [message for message in told if message != ALIVE]
    assert line.startswith("the tracker 'mlflow' has failed and is left out: MlflowException: API request to")
    assert of_csv(journal.with_suffix(".trackers"), "train/loss") == [(1, 1.0)]
    assert journal.exists()
