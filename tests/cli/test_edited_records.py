"""An edited record is told in a line and never shown as true, in every command that reads records."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from clsuite.cli.main import main
from clsuite.records import read_predictions, read_record, rescore, why_untrue, write_predictions

ROOT = Path(__file__).parents[2]
Change = Callable[[dict[str, Any], Path], Any]


def last_row_right(content: dict[str, Any], path: Path) -> None:
    content["counts"]["class_incremental"][-1] = content["counts"]["n"]


def without_predictions(content: dict[str, Any], path: Path) -> None:
    last_row_right(content, path)
    (path.parent / content["predictions"]).unlink()


def other_predictions(content: dict[str, Any], path: Path) -> None:
    file = path.parent / content["predictions"]
    arrays = read_predictions(file)
    arrays["class_incremental"][-1] = arrays["labels"]
    write_predictions(file, arrays)


def broken_predictions(content: dict[str, Any], path: Path) -> None:
    (path.parent / content["predictions"]).write_bytes(b"x")


def predictions_of_another_form(content: dict[str, Any], path: Path) -> None:
    np.savez((path.parent / content["predictions"]).open("wb"), labels=np.zeros(3, np.int64))


EDITS: dict[str, tuple[Change, str]] = {
    "counts": (last_row_right, "was edited: counts.class_incremental does not follow from its predictions"),
    "counts, without predictions": (without_predictions, "cannot be checked: cannot read the predictions"),
    "predictions": (other_predictions, "was edited: counts.class_incremental does not follow from its predictions"),
    "broken predictions": (broken_predictions, "cannot be checked: cannot read the predictions"),
    "predictions of another form": (predictions_of_another_form, "cannot be checked: its predictions cannot be"),
    "the seed": (lambda content, path: content.update(seed=5), "was edited: its key does not follow from its content"),
    "the training": (
        lambda content, path: content["config"]["training"].update(epochs=9), "was edited: its key does not follow",
    ),
}  # fmt: skip


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Published records of two methods, as a run leaves them."""
    for method in ("ncm", "finetune"):
        folder = ROOT / "leaderboard" / "records" / "quickstart" / method
        (tmp_path / "runs" / method).mkdir(parents=True)
        for path in sorted(folder.glob("*.json"))[:6]:
            if not path.name.endswith(".rerun.json"):
                for suffix in (".json", ".npz"):
                    shutil.copy(path.with_suffix(suffix), tmp_path / "runs" / method)
    return tmp_path / "runs"


def edited(runs: Path, name: str) -> Path:
    path = sorted((runs / "ncm").glob("*.json"))[0]
    content = json.loads(path.read_text())
    EDITS[name][0](content, path)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("name", EDITS)
def test_what_is_wrong_is_named(name: str, runs: Path) -> None:
    good = sorted((runs / "ncm").glob("*.json"))[1]
    path = edited(runs, name)
    assert EDITS[name][1] in why_untrue(read_record(path), path)
    assert why_untrue(read_record(good), good) == ""


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize(
    "command",
    [
        ["table", "{runs}", "--format", "csv"],
        ["table", "{runs}"],
        ["plot", "{runs}", "-o", "{runs}/plot.svg"],
        ["compare", "ncm", "finetune", "--runs", "{runs}", "--seeds", "{seeds}"],
    ],
)
def test_it_is_left_out_of_what_is_shown_of_several(
    name: str, command: list[str], runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = sorted((runs / "ncm").glob("*.json"))[1:]
    seeds = ",".join(str(read_record(other).seed) for other in others)
    path = edited(runs, name)
    assert main([word.format(runs=runs, seeds=seeds) for word in command]) == 0
    said = capsys.readouterr()
    told = [line for line in said.err.splitlines() if str(path) in line]
    assert len(told) == 1
    assert EDITS[name][1] in told[0]
    assert "100.0" not in said.out


@pytest.mark.parametrize("command", ["table", "plot"])
def test_a_single_one_is_refused_in_a_line(command: str, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = edited(runs, "counts")
    assert main([command, str(path)]) == 2
    said = capsys.readouterr().err
    assert (said.count("\n"), EDITS["counts"][1] in said) == (1, True)


@pytest.mark.parametrize("name", EDITS)
def test_its_accuracies_are_not_shown(name: str, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = edited(runs, name)
    assert main(["show", str(path)]) == 0
    said = capsys.readouterr().out
    assert f"this record {EDITS[name][1]}" in " ".join(said.split())
    assert "accuracy in %" not in said
    assert "metrics in %" not in said


BENCHMARK = {
    "name": "mine", "dataset": {"name": "digits", "train_per_class": 4, "test_per_class": 4}, "seeds": [0],
    "scenario": {"tasks": 2}, "training": {"epochs": 1}, "methods": {"ncm": "ncm"},
}  # fmt: skip


@pytest.mark.slow
def test_a_run_whose_counts_were_edited_is_done_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(BENCHMARK))
    bench = ["bench", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "runs"), "--jobs", "1", "--device", "cpu"]
    assert main(bench) == 0
    (path,) = (tmp_path / "runs" / "mine" / "ncm").glob("*.json")
    counts = read_record(path).counts
    content = json.loads(path.read_text())
    last_row_right(content, path)
    path.write_text(json.dumps(content))
    capsys.readouterr()
    assert main([*bench, "--dry-run"]) == 0
    said = capsys.readouterr()
    assert "to do  ncm, seed 0" in said.out
    assert "does not follow from its predictions. It will be renamed to" in said.err
    assert main(bench) == 0
    assert read_record(path).counts == counts == rescore(read_predictions(path.with_suffix(".npz")))
    assert path.with_suffix(".unreadable").is_file()
