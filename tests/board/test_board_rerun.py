"""A published run is repeated from its record alone, and its row says how that came out."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from published_records import make_record, predictions, registered
from rich.console import Console

from clsuite.api.progress import BenchProgress
from clsuite.board.build import build_board
from clsuite.board.rerun import compare_rerun, kinds_apart, matches, plan_rerun, write_rerun
from clsuite.board.status import read_rerun
from clsuite.cli.main import main
from clsuite.errors import UserError
from clsuite.records import (
    CostEntry,
    ProbeEntry,
    RunRecord,
    read_predictions,
    read_record,
    rescore,
    write_predictions,
    write_record,
)

BENCHMARK = """
name: short
dataset: {name: digits, train_per_class: 4, test_per_class: 5}
scenario: {kind: class_incremental, tasks: 5}
backbone: {name: omniglot_vit, weights: bundled, image_size: 32}
training: {epochs: 1, batch_size: 8, optimizer: {name: adamw, lr: 0.0005, head_lr: 0.003}}
probes: [{kind: calibration}]
seeds: [0]
methods: {short_replay: {replay: {capacity: 10}}}
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A leaderboard of one real run; what it was made from is gone."""
    folder = tmp_path_factory.mktemp("rerun")
    (folder / "short.yaml").write_text(BENCHMARK)
    run = ["bench", str(folder / "short.yaml"), "--out", str(folder / "runs"), "--device", "cpu", "--limit-tasks", "2"]
    assert main(run) == 0
    assert main(["leaderboard", "add", str(folder / "runs"), "--folder", str(folder / "board")]) == 0
    shutil.rmtree(folder / "runs")
    (folder / "short.yaml").unlink()
    return folder / "board"


def record_of(board: Path) -> Path:
    return next(path for path in (board / "records/short/short_replay").glob("*.json") if "rerun" not in path.name)


def test_a_rerun_is_identical_and_confirms_the_row(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", "rerun", "short/*/0", "--folder", str(published)]) == 0
    assert "identical: short/short_replay/0 (final accuracy, published" in capsys.readouterr().out
    row = build_board(published / "records", published / "none").benchmarks[0].rows[0]
    assert (row.badge, row.runs[0].badge) == ("confirmed", "confirmed")
    assert row.runs[0].rerun is not None
    assert row.runs[0].rerun.figures["largest difference of a reading of a probe"] == 0
    assert main(["leaderboard", "build", "--folder", str(published)]) == 0
    assert "| confirmed |" in (published / "README.md").read_text()


def test_an_invented_result_comes_out_otherwise(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = tmp_path / "board"
    shutil.copytree(published, board)
    path = record_of(board)
    arrays = read_predictions(path.with_suffix(".npz"))
    arrays["class_incremental"][-1] = arrays["labels"]
    write_predictions(path.with_suffix(".npz"), arrays)
    write_record(read_record(path).model_copy(update={"counts": rescore(arrays)}), path)
    registered(board, path)
    assert main(["leaderboard", "rerun", "short/short_replay/0", "--folder", str(board)]) == 1
    assert "different: short/short_replay/0" in capsys.readouterr().out
    assert main(["leaderboard", "build", "--folder", str(board)]) == 0
    assert "| unconfirmed |" in (board / "README.md").read_text()


def test_a_row_of_another_stream_becomes_stale(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = tmp_path / "board"
    shutil.copytree(published, board)
    path = record_of(board)
    record = read_record(path)
    other = record.model_copy(update={"scenario": record.scenario.model_copy(update={"fingerprint": "f"})})
    key = other.make_key(other.config, other.plugins, other.seed, "f")
    write_record(other.model_copy(update={"key": key}), path)
    assert main(["leaderboard", "rerun", "short/short_replay/0", "--folder", str(board)]) == 1
    said = capsys.readouterr().out
    assert "other stream: short/short_replay/0: its stream is not the one that the data give now (f in the" in said


def test_an_edited_record_is_not_repeated(published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = tmp_path / "board"
    shutil.copytree(published, board)
    path = record_of(board)
    write_record(read_record(path).model_copy(update={"seed": 1}), path)
    before = {file: file.read_bytes() for file in board.rglob("*.rerun.json")}
    assert main(["leaderboard", "rerun", "short/short_replay/0", "--folder", str(board)]) == 2
    assert "its key does not follow from its content: it was edited" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in board.rglob("*.rerun.json")} == before


def test_how_a_rerun_came_out_is_told_even_where_it_cannot_be_written(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = tmp_path / "board"
    shutil.copytree(published, board)
    account = record_of(board).with_suffix(".rerun.json")
    account.unlink(missing_ok=True)
    account.mkdir()
    assert main(["leaderboard", "rerun", "short/short_replay/0", "--folder", str(board)]) == 1
    said = capsys.readouterr()
    assert "identical: short/short_replay/0 (final accuracy, published" in said.out
    assert "not written down: short/short_replay/0: cannot write '" in said.err


def test_an_unknown_row_gets_the_nearest(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", "rerun", "short/short_repay/0", "--folder", str(published)]) == 2
    assert "Did you mean 'short/short_replay/0'?" in capsys.readouterr().err


def test_a_row_that_cannot_be_repeated_does_not_take_the_others_with_it(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = tmp_path / "board"
    shutil.copytree(published, board)
    index = json.loads((board / "rows.json").read_text())
    index["rows"]["short/a_lost_one/0"] = {"key": "ab" * 32}
    (board / "rows.json").write_text(json.dumps(index))
    assert main(["leaderboard", "rerun", "short/*/0", "--folder", str(board)]) == 1
    said = capsys.readouterr()
    assert "not repeated: short/a_lost_one/0: cannot read the record" in said.err
    assert "identical: short/short_replay/0" in said.out
    assert main(["leaderboard", "rerun", "short/a_lost_one/0", "--folder", str(board)]) == 2


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a/*", []),
        ("a/*/0", ["a/m/0", "a/n + o/0"]),
        ("a/**", ["a/m/0", "a/m/1", "a/n + o/0", "a/x/y/0"]),
        ("**/0", ["a/m/0", "a/n + o/0", "a/x/y/0", "b/m/0"]),
        ("*/m/?", ["a/m/0", "a/m/1", "b/m/0"]),
        ("[!a]/m/[0-3]", ["b/m/0"]),
        ("a/m/[1-0]", []),
        ("a/n + o/*", ["a/n + o/0"]),
        ("a/.*", []),
    ],
)
def test_a_star_stops_at_a_slash(pattern: str, names: list[str]) -> None:
    rows = ["a/m/0", "a/m/1", "a/n + o/0", "a/x/y/0", "b/m/0"]
    assert [row for row in rows if matches(row, pattern)] == names


def test_the_number_of_runs_is_told_first_and_counted_through(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    board, counted = tmp_path / "board", []
    shutil.copytree(published, board)
    index = json.loads((board / "rows.json").read_text())
    index["rows"] |= {f"short/gone/{seed}": {"key": "ab" * 32} for seed in range(2)}
    (board / "rows.json").write_text(json.dumps(index))
    assert main(["leaderboard", "rerun", "short/**", "--dry-run", "--folder", str(board)]) == 0
    *rows, number = capsys.readouterr().out.splitlines()
    assert sorted(rows) == ["short/gone/0", "short/gone/1", "short/short_replay/0"]
    assert number == "3 runs, one after another"

    def rerun_row(*given: Any) -> bool:
        counted.append(next(one for one in given if isinstance(one, tuple)))
        return True

    monkeypatch.setattr("clsuite.cli.leaderboard._rerun_row", rerun_row)
    assert main(["leaderboard", "rerun", "short/**", "--folder", str(board)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "3 runs, one after another"
    assert counted == [(1, 3), (2, 3), (3, 3)]
    assert main(["leaderboard", "rerun", "short/*", "--folder", str(board)]) == 2
    assert "is like 'short/*': a row is BENCHMARK/METHOD/SEED, and '*' stops at '/'" in capsys.readouterr().err


def test_progress_counts_a_run_among_all() -> None:
    out = io.StringIO()
    plan = SimpleNamespace(record_path=Path("r.json"), name="ncm, seed 0")
    with BenchProgress(Console(file=out, width=80), 1, 0, 3, 156) as progress:
        for event in ({"kind": "start"}, {"kind": "end", "status": "done"}):
            progress.on_event(plan, event)  # type: ignore[arg-type]
    assert out.getvalue().startswith("[3 of 156] ncm, seed 0: done in ")


def test_a_changed_plugin_is_not_rerun(published: Path, tmp_path: Path) -> None:
    record = read_record(record_of(published))
    plugin = record.plugins[0].model_copy(update={"source": "ab" * 32})
    changed = record.model_copy(update={"plugins": [plugin]})
    changed = changed.model_copy(update={"key": changed.recomputed_key()})
    with pytest.raises(UserError, match="the source of plugin 'replay' changed since: a rerun would be of another"):
        plan_rerun(changed, tmp_path / "x.json", None, None, None)


def pair(device: str, right: tuple[float, float], probe: float | None = 0.5) -> tuple[RunRecord, RunRecord]:
    def one(share: float, **changes: Any) -> RunRecord:
        reading = [ProbeEntry(name="knn", higher_is_better=True, values=[0.5, changes.pop("probe", 0.5)])]
        return make_record("a", 0, counts=rescore(predictions(0, share)), probes=reading, **changes)

    return one(right[0]), one(right[1], probe=probe, environment={"device_type": "cuda", "device": device})


@pytest.mark.parametrize(
    ("records", "outcome"),
    [
        ((make_record("a", 0), make_record("a", 0)), "identical"),
        (pair("H", (0.7, 0.7)), "identical"),
        (pair("H", (0.7, 0.7), probe=0.52), "within tolerance"),
        (pair("H", (0.7, 0.7), probe=0.6), "different"),
        (pair("H", (0.7, 0.7), probe=None), "different"),
        (pair("H", (0.7, 0.2)), "different"),
    ],
)
def test_outcomes(records: tuple[RunRecord, RunRecord], outcome: str) -> None:
    assert compare_rerun(*records).outcome == outcome


def test_on_the_same_kind_of_machine_nothing_may_differ() -> None:
    old, new = pair("H", (0.7, 0.7), probe=0.52)
    assert compare_rerun(old, new.model_copy(update={"environment": old.environment})).outcome == "different"


def test_an_identical_rerun_is_not_given_up_for_one_on_another_kind_of_machine(tmp_path: Path) -> None:
    old, new = pair("H", (0.7, 0.2))
    path, same = tmp_path / "a.json", compare_rerun(old, old)
    apart = kinds_apart(old, new)
    assert (
        apart == "published on cpu: X, precision 32-true, torch 2.5.1; rerun on cuda: H, precision unknown, torch None"
    )
    assert kinds_apart(old, old) == ""
    assert kinds_apart(old, old.model_copy(update={"environment": {**old.environment, "python": "x"}})) == ""
    assert write_rerun(same, path, old, "") is None
    assert write_rerun(compare_rerun(old, new), path, old, apart) == same
    assert read_rerun(path, old) == same
    at_home = compare_rerun(old, new.model_copy(update={"environment": old.environment}))
    assert write_rerun(at_home, path, old, "") is None
    assert read_rerun(path, old) == at_home


@pytest.mark.parametrize(
    "changes",
    [
        {"scenario": make_record("a", 0).scenario.model_copy(update={"kind": "task_incremental"})},
        {"tasks": [make_record("a", 0).tasks[0].model_copy(update={"gradient_samples": 8})] * 3},
        {"cost": CostEntry(**{**dict(make_record("a", 0).cost or ()), "stored_bytes": {"exemplars": 1}})},
        {"cost": CostEntry(**{**dict(make_record("a", 0).cost or ()), "trainable_parameters": 2})},
    ],
)
def test_a_rerun_of_other_cost_or_stream_is_not_identical(changes: dict[str, Any]) -> None:
    assert compare_rerun(make_record("a", 0).model_copy(update=changes), make_record("a", 0)).outcome == "different"


@pytest.mark.parametrize("pattern", ["*" * 60 + "x", "a/" + "*m" * 30, "**a" * 40, "?*" * 30 + "[!a]"])
def test_many_stars_take_no_time(pattern: str) -> None:
    assert not matches("a/" + "m" * 25 + "n/0", pattern)


@pytest.mark.parametrize(
    ("pattern", "is_like"), [("**/m*/0", True), ("**m*", False), ("*/m**0", True), ("*m**0", False), ("a/[m]/0", True)]
)
def test_stars_beside_each_other(pattern: str, is_like: bool) -> None:
    assert matches("a/m/0", pattern) is is_like
