"""Sequences of data sets are judged by Transfer, Avg and Last; counts over all names have columns of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_records import SIZES, make_record
from rich.console import Console

from clsuite.board.headline import headline_of
from clsuite.board.validate.record import _of_the_same_logits, _vocabulary_problem
from clsuite.cli.show import print_record
from clsuite.metrics import MTIL, OPEN_VOCABULARY, TASK_AWARE
from clsuite.records import CountsEntry, RunRecord, read_record, write_record
from clsuite.report.compare import compare
from clsuite.report.files import write_report
from clsuite.report.plots import _grows
from clsuite.report.summary import summarize
from clsuite.report.table import SHOWN, results_table, shown_columns

AWARE = [[10, 9, 4], [12, 9, 5], [11, 24, 6], [10, 21, 9]]
NAMES = [[8, 6, 2], [12, 6, 3], [10, 24, 3], [10, 20, 8]]
"""Counts of three sets with 20, 30 and 10 images, before any training and after each task."""


def sets(method: str, seed: int = 0, *, names: bool = True, task_known: bool | None = None) -> RunRecord:
    plain = make_record(method, seed, "cross_domain")
    grown = [[8, 0, 0], [12, 0, 0], [10, 24, 0], [10, 20, 8]]
    counts = CountsEntry(
        class_incremental=grown, task_aware=AWARE if names else grown, n=SIZES, open_vocabulary=NAMES if names else None
    )
    scenario = {"kind": "cross_domain"} | ({} if task_known is None else {"task_known": task_known})
    return plain.model_copy(update={"counts": counts, "config": {"scenario": scenario}})


def by_hand(counts: list[list[int]]) -> tuple[float, float, float]:
    """ZSCL's figures in its own loops: row i is after set i, and there is no row before training."""
    matrix = np.array(counts[1:]) / SIZES
    transfer = np.mean([np.mean([matrix[i, j] for i in range(j)]) for j in range(1, len(SIZES))])
    return float(transfer), float(matrix.mean()), float(matrix[-1].mean())


def test_the_main_counts_are_task_aware_unless_no_task_is_known() -> None:
    assert sets("zero_shot").protocol == sets("zero_shot", task_known=True).protocol == "task_aware"
    assert sets("zero_shot", task_known=False).protocol == "open_vocabulary"
    assert sets("finetune", names=False, task_known=False).protocol == "class_incremental"
    assert make_record("finetune", 0).protocol == "class_incremental"
    assert make_record("finetune", 0, "task_incremental").protocol == "task_aware"


def test_the_table_begins_with_transfer_avg_and_last() -> None:
    results = summarize([sets("zero_shot"), sets("finetune", names=False)])
    assert shown_columns(results)[:6] == (*MTIL, *OPEN_VOCABULARY)
    assert len(set(shown_columns(results))) == len(shown_columns(results))
    figures = next(row.figures for row in results.rows if row.method == "zero_shot")
    assert [figures[name].mean for name in MTIL] == pytest.approx(by_hand(AWARE))
    assert [figures[name].mean for name in OPEN_VOCABULARY] == pytest.approx(by_hand(NAMES))
    other = next(row.figures for row in results.rows if row.method == "finetune")
    assert [other[name].mean for name in OPEN_VOCABULARY] == [None] * 3
    console = Console(width=60, record=True)
    console.print(results_table(results, "sets", 60))
    assert "Transfer" in console.export_text()
    assert headline_of("cross_domain") == "mtil_last"


def test_without_a_task_they_are_over_all_names() -> None:
    results = summarize([sets("zero_shot", task_known=False)])
    assert shown_columns(results)[:3] == MTIL
    assert [results.rows[0].figures[name].mean for name in MTIL] == pytest.approx(by_hand(NAMES))
    assert results.rows[0].figures[TASK_AWARE].mean == pytest.approx(by_hand(AWARE)[2])


def test_other_streams_have_the_columns_that_they_had() -> None:
    results = summarize([make_record("replay", 0)])
    assert shown_columns(results) == SHOWN
    assert not {*OPEN_VOCABULARY} & {*results.columns}


def test_a_comparison_has_them() -> None:
    comparison = compare([sets("zero_shot", seed) for seed in range(2)], [sets("lwf", seed) for seed in range(2)])
    names = [metric.name for metric in comparison.metrics]
    assert names[-7:] == [
        "Transfer", "Avg", "Last", "Transfer (all names)", "Avg (all names)", "Last (all names)", "task-aware acc.",
    ]  # fmt: skip


def test_a_record_keeps_both_and_an_older_one_has_neither(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_record(sets("zero_shot"), tmp_path / "seed0.json")
    assert read_record(tmp_path / "seed0.json").counts == sets("zero_shot").counts
    print_record(tmp_path / "seed0.json")
    shown = capsys.readouterr().out
    assert "task-aware accuracy in %" in shown
    assert "open-vocabulary accuracy in %" in shown
    write_record(make_record("replay", 0), tmp_path / "old.json")
    assert "open_vocabulary" not in (tmp_path / "old.json").read_text()
    with pytest.raises(ValueError, match="no open vocabulary"):
        make_record("replay", 0).counts.of("open_vocabulary")  # type: ignore[union-attr]


def test_the_plots_show_what_is_above_the_diagonal(tmp_path: Path) -> None:
    assert not _grows(sets("zero_shot"))
    assert not _grows(sets("zero_shot", task_known=False))
    assert _grows(sets("finetune", names=False))
    shown, problems = write_report(tmp_path, "Sets", {tmp_path / "seed0.json": sets("zero_shot")})
    assert not problems
    assert tmp_path / "all_parts.svg" in shown


def test_counts_over_all_names_are_refused_of_methods_that_grow() -> None:
    assert _vocabulary_problem(sets("zero_shot")) == ""
    assert "cannot predict classes by their names" in _vocabulary_problem(sets("finetune"))
    head = sets("finetune").model_copy(update={"config": {"training": {"head": "zero_shot"}}})
    assert _vocabulary_problem(head) == ""
    assert _vocabulary_problem(sets("somebodys")) == ""


def test_answers_among_more_names_are_no_better() -> None:
    record = sets("zero_shot").model_copy(update={"environment": {"device_type": "cpu"}})
    arrays = {
        "labels": np.array([0, 1]), "class_incremental": np.array([[0, -1], [0, 1]]),
        "task_aware": np.array([[0, 1], [0, 1]]), "open_vocabulary": np.array([[0, 1], [1, 1]]),
    }  # fmt: skip
    assert _of_the_same_logits(record, arrays) == ""
    wrong = {**arrays, "task_aware": np.array([[0, 0], [0, 1]])}
    assert "right on 1 images where all names compete" in _of_the_same_logits(record, wrong)
    seen = {**arrays, "class_incremental": np.array([[1, -1], [0, 1]])}
    assert "wrong on them where only the classes seen do" in _of_the_same_logits(record, seen)
