"""Rows whose predictions are those of another row say so."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from published_records import make_record, predictions

from clsuite.board.build import build_board
from clsuite.board.files import published_files
from clsuite.board.layout import Leaderboard
from clsuite.board.publish import add_records
from clsuite.records import rescore, write_predictions, write_record


def publish(folder: Path, runs: list[tuple[str, int, float]]) -> Path:
    """Publish runs of some methods: name, seed, share of right predictions, which are drawn from both."""
    for method, seed, right in runs:
        arrays = predictions(seed, right)
        made = make_record(
            method, seed, counts=rescore(arrays), config={**make_record("x", 0).config, "training": {"is": method}}
        )
        record = made.model_copy(update={"predictions": f"{method}{seed}.npz"})
        write_predictions(folder / f"runs/{method}{seed}.npz", arrays)
        write_record(record, folder / f"runs/{method}{seed}.json")
    outcomes = add_records([folder / "runs"], Leaderboard(folder / "board"), False, False, lambda record, arrays: "")
    assert {one.verdict for one in outcomes} == {"added"}, outcomes
    return folder / "board"


def test_rows_with_the_same_predictions_are_marked_wherever_they_are_shown(tmp_path: Path) -> None:
    runs = [(name, seed, 0.7) for name in ("ncm", "twin") for seed in (0, 1)]
    runs += [("half", 0, 0.7), ("half", 1, 0.8), ("one_seed", 1, 0.7), ("elsewhere", 5, 0.7)]
    board = publish(tmp_path, runs)
    made = build_board(board / "records", board / "none")
    assert {row.method: row.same_as for row in made.benchmarks[0].rows} == {
        "ncm": ["one_seed", "twin"], "twin": ["ncm", "one_seed"], "one_seed": ["ncm", "twin"], "half": [],
        "elsewhere": [],
    }  # fmt: skip
    files = published_files(made)
    assert b"(same predictions as one\\_seed, twin) |" in files["README.md"]
    assert b"same predictions as ncm, twin" in files["site/boards/tiny.html"]
    assert b'"same":"same predictions as ncm, one_seed"' in files["site/details/tiny/twin.js"]
    table = {row["method"]: row for row in csv.DictReader(files["data/tiny.csv"].decode().splitlines())}
    assert table["twin"]["same_predictions_as"] == "ncm; one_seed"
    assert table["half"]["same_predictions_as"] == ""


def test_what_is_answered_before_any_training_is_no_method_s_own(tmp_path: Path) -> None:
    from clsuite.board.validate.record import _hash_of_predictions

    arrays = predictions(0, 0.7)
    before = {name: array.copy() for name, array in arrays.items()}
    before["task_aware"][0] = 0
    wide = {name: array.astype(np.int32) for name, array in arrays.items()}
    after = {name: array.copy() for name, array in arrays.items()}
    after["task_aware"][1, 0] += 1
    made = [_hash_of_predictions(one) for one in (arrays, before, wide, after)]
    assert made[0] == made[1] == made[2] != made[3]
