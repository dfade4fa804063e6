"""The readings of probes: those that the configuration names, and of one meaning in all rows of a board."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from published_records import make_record, write_run

from clsuite.board.build import build_board
from clsuite.board.files import build
from clsuite.board.layout import Leaderboard
from clsuite.board.publish import Outcome, add_records
from clsuite.board.readme import readme
from clsuite.board.site.details import row_details
from clsuite.board.site.pareto import main_plot
from clsuite.board.tables import data_files
from clsuite.records import ProbeEntry

HEAD, KL, CALIBRATION = {"kind": "head", "name": None}, "head_kl", {"kind": "calibration", "name": None}


def counted(name: str, **changes: Any) -> ProbeEntry:
    content = {"name": name, "higher_is_better": True, "values": [0.5] * 4, "correct": [5] * 4, "n": 10, **changes}
    return ProbeEntry.model_validate(content)


def error(name: str, **changes: Any) -> ProbeEntry:
    first = 0.0 if name == KL else 0.5  # before the stream nothing has moved
    values = [first, 0.5, 0.5, 0.5]
    return ProbeEntry.model_validate({"name": name, "higher_is_better": False, "values": values, **changes})


def silent(name: str, better: bool) -> ProbeEntry:
    """Of a method that has no such reading: a dash throughout."""
    return ProbeEntry(name=name, higher_is_better=better, values=[None] * 4)


def write(folder: Path, method: str, asked: Any, probes: list[ProbeEntry], seed: int = 0) -> Path:
    config = {**make_record(method, seed).config, "probes": asked, "training": {"by": method}}
    return write_run(folder, method, seed, config=config, probes=probes)


def add(runs: Path, board: Path) -> list[Outcome]:
    return add_records([runs], Leaderboard(board), False, False, lambda record, arrays: "")


@pytest.mark.parametrize(
    ("asked", "probes", "complaint"),
    [
        ([HEAD, CALIBRATION], [counted("head"), error(KL), error("calibration")], ""),
        ([{"kind": "calibration", "name": "mine"}, {"kind": "knn"}], [error("mine"), counted("knn")], ""),
        ([], [counted("extra")], "probes.extra: it is not of a probe that its configuration names"),
        ([HEAD], [counted("head")], "probes.head_kl: it is missing"),
        ([CALIBRATION], [error("calibration"), error("calibration")], "probes.calibration: it is listed twice"),
        (
            [{"kind": "calibration", "name": "head_change"}], [error("head_change")],
            "config.probes: a probe may not be called 'head_change'",
        ),
        ([CALIBRATION], [error("calibration", values=[1.5] * 4)], "a calibration error lies in 0..1"),
        ([CALIBRATION], [error("calibration", values=[0.1, -0.1, 0.1, 0.1])], "a calibration error lies in 0..1"),
        ([HEAD], [counted("head"), error(KL, values=[0.0, 0.1, -0.1, 0.1])], "a divergence is never negative"),
        ([HEAD], [counted("head"), error(KL, values=[0.1] * 4)], "before the stream nothing has moved"),
        ([CALIBRATION, CALIBRATION], [error("calibration")], "config.probes: two are called 'calibration'"),
        ([{"kind": "guess"}], [error("guess")], "config.probes: 'guess' is not a kind of probe: head, knn"),
        ([{"name": "head"}], [counted("head")], "config.probes.0.kind is missing"),
        ("head", [counted("head")], "config.probes is 'head', but must be a list"),
        ([HEAD], [counted("head", higher_is_better=False), error(KL)], "probes.head: of its kind of probe more is"),
        ([HEAD], [counted("head", correct=None, n=None), error(KL)], "right answers are counted; it says otherwise"),
        ([CALIBRATION], [counted("calibration")], "probes.calibration: of its kind of probe less is better"),
        ([HEAD], [counted("head", values=[0.5, None, None, 0.5], correct=[5, None, None, 5]), error(KL)], ""),
        ([HEAD], [counted("head", values=[0.5, None, None, 0.6], correct=[5, None, None, 5]), error(KL)], "divided by"),
        ([HEAD], [silent("head", True), silent(KL, False)], ""),
        ([HEAD], [silent("head", False), silent(KL, False)], "probes.head: of its kind of probe more is"),
        ([CALIBRATION], [error("calibration", values=[None, 1e13, None, 0.1])], "a reading is above 1e+12"),
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


def test_rows_with_dashes_stand_in_the_columns_of_the_others(tmp_path: Path) -> None:
    """Read at the ends alone, never, and throughout: on the page, in CSV and JSON, and in no order that matters."""
    ends = counted("head", values=[0.5, None, None, 0.3], correct=[5, None, None, 3])
    write(tmp_path / "runs", "ends", [HEAD], [ends, error(KL)])
    write(tmp_path / "runs", "a-never", [HEAD], [silent("head", True), silent(KL, False)])
    write(tmp_path / "runs", "whole", [HEAD], [counted("head"), error(KL)])
    assert [one.verdict for one in add(tmp_path / "runs", tmp_path / "board")] == ["added"] * 3
    made = build_board(tmp_path / "board" / "records", tmp_path / "none")
    (benchmark,) = made.benchmarks
    rows = {row.method: row for row in benchmark.rows}
    figures = {name: [rows[name].figures[f"probe_head{end}"].mean for end in ("", "_change")] for name in rows}
    assert figures == {"ends": [0.3, -0.2], "a-never": [None, None], "whole": [0.5, 0.0]}
    assert next(metric.unit for metric in benchmark.metrics if metric.name == "probe_head") == "share"
    assert rows["ends"].runs[0].probes["head"] == [0.5, None, None, 0.3]
    files = data_files(made)
    methods = {line["method"]: line for line in csv.DictReader(files["data/tiny.csv"].decode().splitlines())}
    assert [methods[name]["probe_head_change"] for name in ("ends", "a-never", "whole")] == ["-0.2", "", "0.0"]
    seeds = {line["method"]: line for line in csv.DictReader(files["data/tiny.seeds.csv"].decode().splitlines())}
    assert [seeds[name]["probe_head"] for name in ("ends", "a-never")] == ["0.3", ""]
    assert row_details(made, benchmark, rows["ends"])["runs"][0]["probes"]["head"] == [0.5, None, None, 0.3]
    never = {one[0]: one[6] for one in row_details(made, benchmark, rows["a-never"])["figures"]}
    assert never["pre-trained head"] == "\N{EN DASH}"
    top = main_plot(benchmark)
    assert top is not None
    assert "head" in top.title
    assert {point.name for point in top.points} == {"ends", "whole"}
    line = next(line for line in readme(made).decode().splitlines() if "[a-never]" in line)
    assert "| \N{EN DASH} |" in line
    assert "nan" not in line
    build(Leaderboard(tmp_path / "board"))
    assert [rank.rank.rank for rank in benchmark.rows] == [1, 1, 1]
