"""The readings of probes: those that the configuration names, and of one meaning in all rows of a board."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from published_records import make_record, write_run

from clsuite.board.place import Leaderboard
from clsuite.board.publish import Outcome, add_records
from clsuite.board.shelf import build
from clsuite.records import ProbeEntry

HEAD, KL, CALIBRATION = {"kind": "head", "name": None}, "head_kl", {"kind": "calibration", "name": None}


def counted(name: str, **changes: Any) -> ProbeEntry:
    content = {"name": name, "higher_is_better": True, "values": [0.5] * 4, "correct": [5] * 4, "n": 10, **changes}
    return ProbeEntry.model_validate(content)


def error(name: str, **changes: Any) -> ProbeEntry:
    return ProbeEntry.model_validate({"name": name, "higher_is_better": False, "values": [0.5] * 4, **changes})


def write(folder: Path, method: str, asked: Any, probes: list[ProbeEntry], seed: int = 0) -> Path:
    config = {**make_record(method, seed).config, "probes": asked, "training": {"by": method}}
    return write_run(folder, method, seed, config=config, probes=probes)


def add(runs: Path, board: Path) -> list[Outcome]:
    return add_records([runs], Leaderboard(board), False, False, lambda record: "")


@pytest.mark.parametrize(
    ("asked", "probes", "complaint"),
    [
        ([HEAD, CALIBRATION], [counted("head"), error(KL), error("calibration")], ""),
        ([{"kind": "calibration", "name": "mine"}, {"kind": "knn"}], [error("mine"), counted("knn")], ""),
        ([], [counted("extra")], "probes.extra: it is not of a probe that its configuration names"),
        ([HEAD], [counted("head")], "probes.head_kl: it is missing"),
        ([CALIBRATION], [error("calibration"), error("calibration")], "probes.calibration: it is there twice"),
        (
            [{"kind": "calibration", "name": "head_change"}], [error("head_change")],
            "config.probes: a probe may not be called 'head_change'",
        ),
        ([CALIBRATION, CALIBRATION], [error("calibration")], "config.probes: two are called 'calibration'"),
        ([{"kind": "guess"}], [error("guess")], "config.probes: 'guess' is no kind of probe: head, knn"),
        ([{"name": "head"}], [counted("head")], "config.probes.0.kind: Field required"),
        ("head", [counted("head")], "config.probes: Input should be a valid list"),
        ([HEAD], [counted("head", higher_is_better=False), error(KL)], "probes.head: of its kind of probe more is"),
        ([HEAD], [counted("head", correct=None, n=None), error(KL)], "right answers are counted; it says otherwise"),
        ([CALIBRATION], [counted("calibration")], "probes.calibration: of its kind of probe less is better"),
    ],
)  # fmt: skip
def test_readings_follow_from_the_configuration(
    tmp_path: Path, asked: Any, probes: list[ProbeEntry], complaint: str
) -> None:
    record = write(tmp_path, "a", asked, probes)
    (outcome,) = add(record, tmp_path / "board")
    assert (outcome.verdict, complaint in outcome.reason) == ("refused" if complaint else "added", True)


def test_a_foreign_record_does_not_turn_a_column_round(tmp_path: Path) -> None:
    write(tmp_path / "runs", "a", [HEAD], [counted("head"), error(KL)])
    write(tmp_path / "runs", "b", [CALIBRATION], [error("calibration")])
    assert [one.verdict for one in add(tmp_path / "runs", tmp_path / "board")] == ["added", "added"]
    other = write(tmp_path / "other", "c", [{"kind": "calibration", "name": "head"}], [error("head")])
    (outcome,) = add(other, tmp_path / "board")
    assert outcome.reason.startswith("its probe 'head' is unlike that of 'tiny/a/")
    build(Leaderboard(tmp_path / "board"))


def test_one_column_is_read_on_as_many_images_in_every_row_of_a_seed(tmp_path: Path) -> None:
    write(tmp_path / "runs", "a", [{"kind": "knn"}], [counted("knn")])
    write(tmp_path / "runs", "a", [{"kind": "knn"}], [counted("knn", n=20, correct=[10] * 4)], seed=1)
    assert [one.verdict for one in add(tmp_path / "runs", tmp_path / "board")] == ["added", "added"]
    few = write(tmp_path / "few", "b", [{"kind": "knn"}], [counted("knn", n=2, correct=[1] * 4)])
    (outcome,) = add(few, tmp_path / "board")
    assert outcome.reason.startswith("its probe 'knn' reads 2 images, but that of 'tiny/a/")
