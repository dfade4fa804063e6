"""Records with curves: the file, the columns, the table, the plot; records without stay as they were."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from clsuite.cli.show import print_record
from clsuite.metrics import COLUMNS, EXPOSED, WITHIN_TASK
from clsuite.records import RunRecord, WithinTaskEntry, read_record, write_record
from clsuite.report.files import write_report
from clsuite.report.summary import columns_of, summarize
from clsuite.report.table import within_task_table
from clsuite.report.within_task_plot import plot_within_task

CURVE = {"steps": [0, 1, 2], "class_incremental": [[5, 0, 0], [2, 0, 0], [8, 0, 0]], "task_aware": [[9, 0, 0]] * 3}
LATER = {"steps": [0, 1, 2], "class_incremental": [[5, 5, 5], [2, 4, 6], [8, 8, 8]], "task_aware": [[9, 9, 9]] * 3}


def with_curves(record: RunRecord) -> RunRecord:
    tasks = [CURVE, {**LATER, "class_incremental": [[8, 0, 0], [4, 5, 0], [6, 9, 0]]}, LATER]
    entry = WithinTaskEntry.model_validate({"every": 2, "n": [10] * 3, "learned": [0, 1, 2], "tasks": tasks})
    return record.model_copy(update={"within_task": entry})


def test_a_record_without_curves_does_not_mention_them(records: list[RunRecord], tmp_path: Path) -> None:
    write_record(records[0], tmp_path / "r.json")
    assert "within_task" not in json.loads((tmp_path / "r.json").read_text())
    assert read_record(tmp_path / "r.json") == records[0]


def test_a_record_keeps_its_curves(records: list[RunRecord], tmp_path: Path) -> None:
    record = with_curves(records[0])
    write_record(record, tmp_path / "r.json")
    again = read_record(tmp_path / "r.json")
    assert again == record
    assert again.main_curves is not None
    assert WITHIN_TASK["min_accuracy"].compute(again.main_curves) == pytest.approx((0.2 + 0.4) / 2)


def test_a_record_with_exposed_classes_has_their_column(records: list[RunRecord], tmp_path: Path) -> None:
    """A_AUC: steps 2 of each task alone are regular (every two steps)."""
    record = with_curves(records[0])
    assert record.within_task is not None
    tasks = [one.model_copy(update={"exposed": [None, 0.3, 0.6]}) for one in record.within_task.tasks]
    exposed = record.model_copy(update={"within_task": record.within_task.model_copy(update={"tasks": tasks})})
    write_record(exposed, tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text())["within_task"]["tasks"][0]["exposed"] == [None, 0.3, 0.6]
    again = read_record(tmp_path / "r.json")
    assert summarize([again]).rows[0].figures[EXPOSED].values == pytest.approx((0.6,))
    assert EXPOSED in columns_of([again, records[1]])
    assert EXPOSED not in columns_of([record])
    write_record(record, tmp_path / "plain.json")
    assert "exposed" not in json.loads((tmp_path / "plain.json").read_text())["within_task"]["tasks"][0]


@pytest.mark.slow
def test_columns_are_there_where_a_record_has_curves(records: list[RunRecord], tmp_path: Path) -> None:
    assert set(columns_of(records)) == set(COLUMNS)
    assert within_task_table(summarize(records)) is None
    mixed = [with_curves(records[0]), *records[1:3]]
    paths = {tmp_path / record.method / "seed0.json": record for record in mixed}
    for path, record in paths.items():
        write_record(record, path)
    assert tmp_path / "within_task.svg" in write_report(tmp_path, "Tiny", paths)[0]
    with (tmp_path / "summary.csv").open(newline="", encoding="utf-8") as opened:
        lines = {line["method"]: line for line in csv.DictReader(opened)}
    assert float(lines["finetune"]["min_accuracy"]) == pytest.approx(0.3)
    assert lines["replay"]["min_accuracy"] == ""
    table = within_task_table(summarize(mixed))
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table)
    shown = capture.get()
    assert all((metric.label in shown) == (metric.name != EXPOSED) for metric in WITHIN_TASK.values())
    assert "30.0" in shown


def test_the_plot_has_a_panel_a_method_and_the_same_bytes(records: list[RunRecord], tmp_path: Path) -> None:
    curved = [with_curves(record) for record in records]
    plot_within_task(curved, tmp_path / "a.svg", "Tiny")
    plot_within_task(curved[::-1], tmp_path / "b.svg", "Tiny")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    texts = [text.text for text in ElementTree.parse(tmp_path / "a.svg").iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if text and "seed 0" in text] == [
        "finetune, seed 0", "joint, seed 0", "replay, seed 0",
    ]  # fmt: skip


def test_show_prints_them(records: list[RunRecord], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_record(with_curves(records[0]), tmp_path / "r.json")
    print_record(tmp_path / "r.json")
    shown = capsys.readouterr().out
    assert "within tasks, on 30 test images" in shown
    assert all(name in shown for name in WITHIN_TASK)
