"""Whole runs with trackers in a process of their own: the record is the same, and the rows are those of the run."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from clsuite.cli.main import main
from clsuite.runner import bench
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import make_plan
from clsuite.runner.spec import load_benchmark
from clsuite.trackers import process
from clsuite.trackers.process import WriterProcess

TINY = {
    "name": "tiny",
    "dataset": {"name": "digits", "train_per_class": 12, "test_per_class": 6},
    "scenario": {"tasks": 5},
    "limit_tasks": 2,
    "training": {"batch_size": 8},
    "seeds": [0],
    "methods": {"finetune": "finetune"},
}
PLAIN = ("--debug", "--no-feature-store")
"""In this process, which has the libraries already, and without features of the other run."""


def without_times(record: Any) -> Any:
    """A record without what differs between two runs of the same process too: times and the peak of memory."""
    if isinstance(record, dict):
        left = {name: value for name, value in record.items() if not name.endswith("seconds")}
        return {name: without_times(value) for name, value in left.items() if name != "peak_memory_bytes"}
    return [without_times(item) for item in record] if isinstance(record, list) else record


@pytest.mark.slow
def test_the_record_is_the_same_with_all_trackers_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("WANDB_MODE", "MLFLOW_TRACKING_URI", "CLSUITE_LOG"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    for out, more in (("plain", []), ("tracked", ["--log", "csv,tensorboard,wandb,mlflow"])):
        assert main(["bench", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / out), *PLAIN, *more]) == 0
    assert "tracker" not in capsys.readouterr().err
    (plain,), (tracked,) = (list((tmp_path / out).glob("*/*/*.json")) for out in ("plain", "tracked"))
    texts = [json.dumps(without_times(json.loads(path.read_text())), sort_keys=True) for path in (plain, tracked)]
    assert texts[0] == texts[1]
    assert plain.with_suffix(".npz").read_bytes() == tracked.with_suffix(".npz").read_bytes()
    assert not plain.with_suffix(".trackers").exists()
    folder, record = tracked.with_suffix(".trackers"), json.loads(tracked.read_text())
    rows = list(csv.DictReader((folder / "csv" / "metrics.csv").open()))
    assert len([row for row in rows if row["train/loss"]]) == sum(entry["steps"] for entry in record["tasks"])
    assert len(list(folder.glob("tensorboard/events.*"))) == len(list(folder.glob("wandb/offline-run-*/*.wandb"))) == 1
    assert (tmp_path / "tracked" / "mlflow.db").is_file()
    assert main(["table", str(tmp_path / "tracked")]) == 0  # what trackers write is no record


def test_what_a_finished_run_has_left_is_handed_over_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []

    class Writer:
        def __init__(self, *given: Any) -> None:
            told.append(given)

        def end(self, status: str) -> None:
            told.append(status)

        def wait(self) -> None:
            told.append("waited")

    monkeypatch.setattr(bench, "WriterProcess", Writer)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    spec, path = load_benchmark(str(tmp_path / "tiny.yaml"))
    (plan,) = make_plan(spec, path.parent, RunOptions(out=tmp_path / "out", log="csv,mlflow"))  # type: ignore[arg-type]
    bench.hand_over_rest([plan])
    assert told == []
    plan.record_path.parent.mkdir(parents=True)
    plan.beside(".journal").touch()
    bench.hand_over_rest([plan, replace(plan, trackers=())])
    assert told == [(plan.beside(".journal"), ("csv", "mlflow")), "done", "waited"]


@pytest.mark.slow
def test_a_process_that_does_not_answer_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "PATIENCE", 5.5)
    monkeypatch.setattr(process, "PYTHON", ("sh", "-c", "sleep 60"))
    writer = WriterProcess(tmp_path / "seed0.journal", ("csv",))
    writer.end("done")
    with pytest.warns(UserWarning, match="trackers did not answer for 5.5 s"):
        writer.wait()
