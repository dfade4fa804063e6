"""From records to rows and to the terminal's table."""

from __future__ import annotations

import io
import math
import random

import pytest
from rich.console import Console
from rich.table import Table

from clsuite.metrics import COLUMNS, INTRANSIGENCE, METRICS, TASK_AWARE, WITHIN_TASK, compute_all, mean_interval
from clsuite.records import ProbeEntry, RunRecord
from clsuite.report.format import short_number
from clsuite.report.summary import columns_of, summarize
from clsuite.report.table import SHOWN, results_table


def of(records: list[RunRecord], method: str) -> list[RunRecord]:
    return sorted((record for record in records if record.method == method), key=lambda record: record.seed)


def test_one_row_per_method_best_first(records: list[RunRecord]) -> None:
    rows = summarize(records).rows
    assert [row.method for row in rows] == ["joint", "replay", "finetune"]
    assert [row.seeds for row in rows] == [(0, 1, 2)] * 3


def test_metrics_are_those_of_each_record(records: list[RunRecord]) -> None:
    for row in summarize(records).rows:
        for position, record in enumerate(of(records, row.method)):
            assert record.counts is not None
            expected = compute_all(record.counts.of("class_incremental"))
            values = {name: row.figures[name].values[position] for name in METRICS}
            assert values == {name: None if math.isnan(value) else value for name, value in expected.items()}


def test_every_row_has_every_column(records: list[RunRecord]) -> None:
    for row in summarize(records).rows:
        assert set(row.figures) == set(COLUMNS)
        assert {len(figure.values) for figure in row.figures.values()} == {3}


def test_intervals_are_over_seeds(records: list[RunRecord]) -> None:
    figure = summarize(records).rows[1].figures["learning_accuracy"]
    values = [value for value in figure.values if value is not None]
    assert (figure.mean, figure.half) == mean_interval(values)
    assert figure.mean is not None
    assert figure.half is not None
    assert (figure.low, figure.high) == (figure.mean - figure.half, figure.mean + figure.half)
    assert figure.shortened.mean == pytest.approx(figure.mean, rel=1e-8)
    assert len(str(figure.shortened.mean)) <= len("0.123456789")


def test_costs_are_summed_over_tasks(records: list[RunRecord]) -> None:
    values = {name: figure.values for name, figure in summarize(records).rows[0].figures.items()}
    assert values["gradient_samples"] == (300, 300, 300)
    assert values["train_seconds"] == (4.5, 4.5, 4.5)
    assert values["eval_seconds"] == (1.5, 1.5, 1.5)
    assert values["stored_bytes"] == (61_440,) * 3
    assert values[TASK_AWARE] == (1.0, 1.0, 1.0)


def test_intransigence_is_measured_against_joint_training_of_the_same_seed(records: list[RunRecord]) -> None:
    rows = {row.method: row.figures for row in summarize(records).rows}
    assert rows["joint"][INTRANSIGENCE].values == (0, 0, 0)
    learned = zip(*(rows[method]["learning_accuracy"].values for method in ("joint", "replay")), strict=True)
    gaps = [bound - value for bound, value in learned if bound is not None and value is not None]
    assert rows["replay"][INTRANSIGENCE].values == pytest.approx(gaps)
    assert len(gaps) == 3


def test_of_several_bounds_the_plainest_is_taken(records: list[RunRecord]) -> None:
    probes = [
        record.model_copy(update={"method": "a", "plugins": record.plugins * 2, "counts": finetuned.counts})
        for record, finetuned in zip(of(records, "joint"), of(records, "finetune"), strict=True)
    ]
    expected = summarize(records).rows[1].figures[INTRANSIGENCE].values
    for together in ([*records, *probes], [*probes, *records]):
        rows = {row.method: row for row in summarize(together).rows}
        assert rows["replay"].figures[INTRANSIGENCE].values == expected


def test_the_words_on_intransigence_name_the_bound(records: list[RunRecord]) -> None:
    assert columns_of(records)[INTRANSIGENCE].about.endswith("Joint training is 'joint' here.")
    without = [record for record in records if record.method != "joint"]
    assert columns_of(without)[INTRANSIGENCE].about == COLUMNS[INTRANSIGENCE].about


def test_the_weighted_last_accuracy_stands_beside_the_macro_one(records: list[RunRecord]) -> None:
    """Test parts of 20, 30 and 10 images."""
    unlike = []
    for record in of(records, "replay"):
        assert record.counts is not None
        rows = [*record.counts.class_incremental[:-1], [20, 15, 0]]
        unlike.append(
            record.model_copy(update={"counts": record.counts.model_copy(update={"class_incremental": rows})})
        )
    table = results_table(summarize(unlike), "Tiny")
    assert cells(table, "final acc. (macro)") == ["50.0 ± 0.0"]
    assert cells(table, "last acc. (weighted)") == ["58.3 ± 0.0"]
    assert "all test images together" in str(table.caption)


def test_without_joint_training_there_is_no_intransigence(records: list[RunRecord]) -> None:
    for row in summarize([record for record in records if record.method != "joint"]).rows:
        assert row.figures[INTRANSIGENCE].values == (None, None, None)


def test_a_seed_without_joint_training_has_none(records: list[RunRecord]) -> None:
    results = summarize([record for record in records if (record.method, record.seed) != ("joint", 1)])
    replay = next(row for row in results.rows if row.method == "replay")
    assert [value is None for value in replay.figures[INTRANSIGENCE].values] == [False, True, False]


def test_its_mean_is_over_the_seeds_that_have_one_and_the_table_says_so(records: list[RunRecord]) -> None:
    results = summarize([record for record in records if (record.method, record.seed) != ("joint", 1)])
    figure = next(row for row in results.rows if row.method == "replay").figures[INTRANSIGENCE]
    assert (figure.mean, figure.half) == mean_interval([value for value in figure.values if value is not None])
    said = "intransigence over the seeds that joint training has too"
    assert said in str(results_table(results, "Tiny").caption)
    assert said not in str(results_table(summarize(records), "Tiny").caption)


def test_times_have_no_best_where_the_machines_differ(records: list[RunRecord]) -> None:
    kinds = [{"device_type": "cpu", "device": "X", "precision": "32-true"}] * 9
    same = [record.model_copy(update={"environment": kind}) for record, kind in zip(records, kinds, strict=True)]
    assert [columns_of(same)[name].higher_is_better for name in ("train_seconds", "stored_bytes")] == [False, False]
    for change in ({"device": "Y"}, {"precision": "bf16-mixed"}, {"device_type": "cuda"}):
        other = [*same[1:], same[0].model_copy(update={"environment": {**kinds[0], **change}})]
        columns = columns_of(other)
        assert [columns[name].higher_is_better for name in ("train_seconds", "eval_seconds")] == [None, None]
        assert columns["stored_bytes"].higher_is_better is False
        table = results_table(summarize(other), "Tiny")
        assert cells(table, "training s") == ["4.5", "4.5", "-"]  # finetune was measured on both
        assert "training s" in [str(column.header) for column in table.columns]


HEAD, KL = {"kind": "head"}, "head_kl"


@pytest.mark.parametrize(
    ("probes", "backbone", "name", "label"),
    [
        ([HEAD], "vit_tiny_patch16_224.augreg_in21k_ft_in1k", "head", "ImageNet head"),
        ([HEAD], "vit_tiny_patch16_224.augreg_in21k_ft_in1k", KL, "ImageNet head drift"),
        ([HEAD], "vit_tiny_patch16_224.augreg_in21k", "head", "pre-trained head"),
        ([HEAD], "omniglot_vit", KL, "pre-trained head drift"),
        ([{"kind": "head", "name": "birds"}], "vit.in1k", "birds", "probe birds"),
        ([{"kind": "head", "name": "birds"}], "vit.in1k", "birds_kl", "probe birds_kl"),
        ([{"kind": "calibration", "bins": 15, "name": None}], "vit", "calibration", "calibration error"),
        ([{"kind": "nobody knows"}, 3, {"kind": []}], "vit", "head", "probe head"),
        ("broken", "vit.in1k", "head", "probe head"),
        (None, "vit.in1k", "head", "probe head"),
    ],
)
def test_probes_are_called_what_their_configuration_says(
    records: list[RunRecord], probes: object, backbone: str, name: str, label: str
) -> None:
    reading = ProbeEntry(name=name, higher_is_better=True, values=[0.5] * 4)
    config = {"probes": probes, "backbone": {"name": backbone}}
    columns = columns_of([records[0].model_copy(update={"probes": [reading], "config": config})])
    assert columns[f"probe_{name}"].label == label
    assert columns[f"probe_{name}"].about
    change = columns.get(f"probe_{name}_change")
    assert change is None or change.label == f"change of {label.removeprefix('probe ')}"
    assert (change is None) is (name.endswith("_kl") and probes is not None)


def test_every_column_has_words_of_its_own() -> None:
    words = [column.about for column in [*COLUMNS.values(), *WITHIN_TASK.values()]]
    assert all(words)
    assert len({*words}) == len(words)


def test_what_only_one_method_has_is_not_the_best(records: list[RunRecord]) -> None:
    results = summarize([record for record in records if record.method == "replay"])
    assert not [cell for cell in cells(results_table(results, "Tiny"), "final acc.") if "bold" in cell]


def test_the_order_of_records_does_not_matter(records: list[RunRecord]) -> None:
    shuffled = random.Random(0).sample(records, len(records))
    assert shuffled != records
    assert summarize(shuffled) == summarize(records)


def test_methods_that_are_level_come_by_name(records: list[RunRecord]) -> None:
    twins = [
        record.model_copy(update={"method": name}) for name in ("zeta", "alpha") for record in of(records, "replay")
    ]
    assert [row.method for row in summarize(twins).rows] == ["alpha", "zeta"]


def test_one_seed_has_no_interval(records: list[RunRecord]) -> None:
    figure = summarize(records[:1]).rows[0].figures["final_accuracy_macro"]
    assert figure.mean is not None
    assert (figure.half, figure.low, figure.high) == (None, None, None)


def cells(table: Table, heading: str) -> list[str]:
    column = next(column for column in table.columns if str(column.header).startswith(heading))
    return [str(cell) for cell in column.cells]


def test_the_table_shows_per_cent_with_intervals_and_the_best_in_bold(records: list[RunRecord]) -> None:
    results = summarize(records)
    table = results_table(results, "Tiny")
    figure = results.rows[1].figures["final_accuracy_macro"]
    mean, half = (100 * (value or 0) for value in (figure.mean, figure.half))
    assert cells(table, "method") == ["joint", "replay", "finetune"]
    shown = cells(table, "final acc.")
    assert shown[1] == f"[bold]{mean:.1f} ± {half:.1f}[/bold]"
    assert not any("bold" in cell for cell in (shown[0], shown[2]))
    assert cells(table, "seeds") == ["3", "3", "3"]
    assert cells(table, "training s") == ["4.5"] * 3
    assert cells(table, "trained") == ["930 k"] * 3
    assert cells(table, "stored") == ["61.4 kB", "0 B", "0 B"]


def test_arrows_show_the_direction(records: list[RunRecord]) -> None:
    headings = [str(column.header) for column in results_table(summarize(records), "Tiny").columns]
    assert headings[1:3] == ["final acc. (macro) ↑", "last acc. (weighted) ↑"]
    assert "forgetting ↓" in headings
    assert "intransigence ↓" in headings
    assert {"trained ↓", "stored ↓", "training s ↓"} <= set(headings)
    assert len(headings) == len(SHOWN) + 2


def test_the_lowest_is_the_best_where_lower_is_better(records: list[RunRecord]) -> None:
    results = summarize(records)
    shown = cells(results_table(results, "Tiny"), "forgetting")
    means = [row.figures["forgetting_max_before_last"].mean or 0 for row in results.rows]
    lowest = min((1, 2), key=lambda i: means[i])  # the first is joint training, a bound
    assert [cell.startswith("[bold]") for cell in shown] == [i == lowest for i in range(3)]


def test_where_all_are_level_none_is_the_best(records: list[RunRecord]) -> None:
    assert cells(results_table(summarize(records), "Tiny"), "task-aware") == ["100.0 ± 0.0"] * 3


def test_what_is_not_defined_is_a_dash(records: list[RunRecord]) -> None:
    table = results_table(summarize([record for record in records if record.method != "joint"]), "Tiny")
    assert cells(table, "intransigence") == ["-", "-"]


def test_one_seed_is_shown_without_an_interval(records: list[RunRecord]) -> None:
    assert "±" not in cells(results_table(summarize(records[:1]), "Tiny"), "final acc.")[0]


def render(records: list[RunRecord]) -> str:
    out = io.StringIO()
    Console(file=out, width=240, force_terminal=True, color_system="standard").print(
        results_table(summarize(records), "Tiny")
    )
    return out.getvalue()


def test_the_same_records_give_the_same_text(records: list[RunRecord]) -> None:
    text = render(records)
    assert "Tiny" in text
    assert "replay" in text
    assert render(records[::-1]) == text


def test_names_are_shown_as_they_are(records: list[RunRecord]) -> None:
    named = [record.model_copy(update={"method": "x(sizes=[red])"}) for record in of(records, "replay")]
    assert "x(sizes=[red])" in render(named)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1 k"),
        (930_000, "930 k"),
        (1_550_000, "1.55 M"),
        (2.5e9, "2.5 G"),
        (999_999, "1 M"),
    ],
)
def test_short_numbers(value: float, text: str) -> None:
    assert short_number(value) == text
