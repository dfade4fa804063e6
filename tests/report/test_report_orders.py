"""Tables and comparisons over class orders: hand-computed, and never mixed with seeds."""

from __future__ import annotations

import csv
from pathlib import Path
from statistics import mean, median

import pytest
from made_records import make_record

from clsuite.cli.main import main
from clsuite.errors import UserError
from clsuite.metrics import METRICS, PRIMARY, mean_interval
from clsuite.records import RunRecord, write_record
from clsuite.records.order import order_of, run_name, without_order
from clsuite.report.compare import compare
from clsuite.report.consistency import ConsistencyCheck
from clsuite.report.export import csv_table, latex_table, markdown_table
from clsuite.report.newest import newest_runs
from clsuite.report.summary import Row, summarize
from clsuite.report.table import OVER_ORDERS, results_table
from clsuite.report.units import final_spread

LISTED = ["b", "a"]


def in_order(method: str, seed: int, order: int | list[str]) -> RunRecord:
    """A run of an order: one that is drawn with a seed, or listed."""
    number = order if isinstance(order, int) else 99
    stated = {"order": "seed", "order_seed": order} if isinstance(order, int) else {"order": order, "order_seed": None}
    record = make_record(method, 10 * number + seed)
    scenario = record.scenario.model_copy(update={"fingerprint": f"{order} {seed}"})
    config = {"scenario": {"kind": "class_incremental", "tasks": 3, **stated}}
    return record.model_copy(update={"seed": seed, "config": config, "scenario": scenario})


def value(record: RunRecord) -> float:
    return METRICS[PRIMARY].compute(record.main_counts)


@pytest.fixture
def drawn() -> list[RunRecord]:
    """Two methods, three orders, two seeds."""
    return [
        in_order(method, seed, order) for method in ("finetune", "replay") for seed in (0, 1) for order in (0, 1, 2)
    ]


def means_of(records: list[RunRecord], method: str) -> list[float]:
    """By hand: the mean over seeds of each order."""
    return [
        mean(value(run) for run in records if run.method == method and run.config["scenario"]["order_seed"] == order)
        for order in (0, 1, 2)
    ]


def row_of(records: list[RunRecord], method: str) -> Row:
    return next(row for row in summarize(records).rows if row.method == method)


def test_mean_and_interval_are_over_orders_each_with_its_mean_over_seeds(drawn: list[RunRecord]) -> None:
    figure, means = row_of(drawn, "replay").figures[PRIMARY], means_of(drawn, "replay")
    assert (figure.mean, figure.half) == pytest.approx(mean_interval(means))
    assert figure.half != pytest.approx(mean_interval([value(run) for run in drawn if run.method == "replay"])[1])
    assert figure.spread is not None
    assert figure.spread.model_dump() == pytest.approx(
        {"minimum": min(means), "median": median(means), "maximum": max(means)}
    )
    assert row_of(drawn, "replay").orders == ("0", "1", "2", "0", "1", "2")


def test_an_order_with_more_seeds_has_no_more_weight(drawn: list[RunRecord]) -> None:
    more = [*drawn, *(in_order("replay", seed, 0) for seed in (2, 3, 4))]
    orders = [
        mean(value(run) for run in more if run.method == "replay" and run_name(run).endswith(f"order {k}"))
        for k in range(3)
    ]
    assert row_of(more, "replay").figures[PRIMARY].mean == pytest.approx(mean(orders))


def test_a_chosen_order_counts_for_minimum_and_maximum_only(drawn: list[RunRecord]) -> None:
    worst = in_order("replay", 0, LISTED)
    worst = worst.model_copy(update={"counts": make_record("finetune", 5).counts})
    before, after = row_of(drawn, "replay"), row_of([*drawn, worst], "replay")
    old, new = before.figures[PRIMARY], after.figures[PRIMARY]
    assert (new.mean, new.half) == (old.mean, old.half)
    assert old.spread is not None
    assert new.spread is not None
    assert new.spread.minimum == value(worst) < old.spread.minimum
    assert (new.spread.median, new.spread.maximum) == (old.spread.median, old.spread.maximum)
    assert [after.orders.count(order) for order in after.chosen] == [1]
    assert after.scores(PRIMARY) == pytest.approx(dict(zip("012", means_of(drawn, "replay"), strict=True)))
    table = results_table(summarize([*drawn, worst]), "Tiny")
    assert [list(column.cells) for column in table.columns if column.header == "orders"] == [["3 + 1", "3"]]
    assert "different numbers of orders" in str(table.caption)


def test_orders_that_were_all_chosen_have_no_interval() -> None:
    figure = summarize([in_order("replay", 0, names) for names in (["a", "b"], LISTED)]).rows[0].figures[PRIMARY]
    assert figure.half is None
    assert figure.spread is not None


def test_the_worst_order_ranks_if_it_is_asked_for(drawn: list[RunRecord]) -> None:
    poor = in_order("replay", 0, LISTED).model_copy(update={"counts": make_record("finetune", 5).counts})
    poor = poor.model_copy(
        update={"counts": poor.counts and poor.counts.model_copy(update={"class_incremental": [[0, 0, 0]] * 4})}
    )
    runs = [*drawn, poor]
    assert [row.method for row in summarize(runs).rows] == ["replay", "finetune"]
    assert [row.method for row in summarize(runs, "worst").rows] == ["finetune", "replay"]


def test_every_table_shows_minimum_median_and_maximum(drawn: list[RunRecord]) -> None:
    means = means_of(drawn, "replay")
    shown = " · ".join(f"{100 * item:.1f}" for item in (min(means), median(means), max(means)))
    table = results_table(summarize(drawn), "Tiny")
    assert f"({shown})" in str(next(iter(table.columns[1].cells)))
    assert table.caption == OVER_ORDERS
    assert shown in markdown_table(drawn, [PRIMARY])
    assert shown.replace(" · ", r" $\cdot$ ") in latex_table(drawn, [PRIMARY])
    line = next(csv.DictReader(csv_table(drawn, [PRIMARY, "stored_bytes"]).splitlines()))
    assert (line["method"], line["seeds"], line["orders"]) == ("replay", "0 1", "0; 1; 2")
    assert [float(line[f"{PRIMARY}_{part}"]) for part in ("min", "median", "max")] == pytest.approx(
        [min(means), median(means), max(means)]
    )
    assert "stored_bytes_min" not in line


def test_a_table_of_one_order_is_as_it_was(records: list[RunRecord]) -> None:
    row = summarize(records).rows[0]
    assert {"orders", "chosen"} & row.model_dump().keys() == set()
    assert "spread" not in row.figures[PRIMARY].model_dump()
    assert "orders" not in csv_table(records, []).splitlines()[0]
    fixed = [in_order("replay", seed, 7) for seed in (0, 1, 2)]  # one order, apart from the seeds
    figure = summarize(fixed).rows[0].figures[PRIMARY]
    assert (figure.mean, figure.half) == pytest.approx(mean_interval([value(run) for run in fixed]))
    assert figure.spread is None


def test_runs_of_several_orders_belong_together_and_other_settings_do_not(tmp_path: Path) -> None:
    runs = [in_order("replay", 0, order) for order in (0, 1, LISTED)]
    check = ConsistencyCheck()
    assert [check.problem(run, "there") for run in runs] == ["", "", ""]
    other = in_order("replay", 0, 3).model_copy(update={"config": {"scenario": {"tasks": 5, "order_seed": 3}}})
    assert check.problem(other, "here")
    paths = {tmp_path / f"{number}.json": run for number, run in enumerate(runs)}
    for path, run in paths.items():
        write_record(run, path)
    assert newest_runs(paths) == (paths, [])
    means = [value(run) for run in runs[:2]]
    ends = (min(value(run) for run in runs), median(means), max(value(run) for run in runs))
    assert final_spread(list(paths)) == " · ".join(f"{100 * item:.1f}" for item in ends)
    assert final_spread([tmp_path / "0.json"]) == ""


def test_comparisons_are_paired_by_order_and_tested_over_orders(drawn: list[RunRecord]) -> None:
    replay, finetune = ([run for run in drawn if run.method == method] for method in ("replay", "finetune"))
    comparison = compare(replay, finetune[::-1])
    wanted = [a - b for a, b in zip(means_of(drawn, "replay"), means_of(drawn, "finetune"), strict=True)]
    assert comparison.metrics[0].differences == pytest.approx(wanted)
    assert comparison.orders == ("0", "1", "2")
    assert comparison.seeds == (0, 1)
    assert comparison.metrics[0].p == 0.25  # of three orders, and not of six runs
    assert "with three orders" in str(comparison)
    worst = [f"{100 * min(means_of(drawn, method)):.1f} %" for method in ("replay", "finetune")]
    assert f"In its worst order replay has {worst[0]}, finetune in its worst {worst[1]}." in str(comparison)


def test_orders_of_a_search_are_not_paired_but_count_for_the_worst(drawn: list[RunRecord]) -> None:
    replay, finetune = ([run for run in drawn if run.method == method] for method in ("replay", "finetune"))
    found = in_order("replay", 0, LISTED).model_copy(update={"counts": make_record("finetune", 5).counts})
    comparison = compare([*replay, found], finetune)
    assert comparison.metrics[0].differences == compare(replay, finetune).metrics[0].differences
    spread = comparison.metrics[0].spreads[0]
    assert spread is not None
    assert spread.minimum == value(found)
    assert any("1 order of 'replay' alone" in note for note in comparison.notes)
    with pytest.raises(UserError, match=r"has orders 0, 1, 2 and 'finetune' has 1, 2; .* run the missing ones"):
        compare(replay, [run for run in finetune if run.config["scenario"]["order_seed"]])


def test_what_the_order_of_a_run_is() -> None:
    def named(**scenario: object) -> tuple[str, bool] | None:
        record = make_record("replay", 0).model_copy(update={"config": {"scenario": scenario}})
        order = order_of(record)
        return (order.name, order.drawn) if order else None

    assert named(order="seed", order_seed=None) is None
    assert named(kind="avalanche", path="a.py") is None
    assert named(order="seed", order_seed=4) == named(kind="blurry", order_seed=4) == ("4", True)
    assert named(order={"numpy": 1993}) == ("numpy 1993", True)
    assert named(order="given") == ("given", False)
    assert named(order=["a", "b"]) != named(order=["b", "a"])
    assert without_order({"scenario": {"order": "seed", "order_seed": None}, "a": 1}) == {
        "scenario": {"order": "seed", "order_seed": None}, "a": 1,
    }  # fmt: skip


def test_the_command_ranks_by_the_worst_order(
    tmp_path: Path, drawn: list[RunRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    for number, run in enumerate(drawn):
        write_record(run.model_copy(update={"key": str(number)}), tmp_path / f"seed{run.seed}-{number}.json")
    assert main(["table", str(tmp_path), "--rank-by", "worst", "--columns", PRIMARY]) == 0
    assert " · " in capsys.readouterr().out
    assert main(["status", str(tmp_path)]) == 0
    assert "orders: tiny: replay: 3 of 3 orders: final accuracy " in capsys.readouterr().out
    one = tmp_path / "one"
    one.mkdir()
    write_record(make_record("replay", 0), one / "seed0.json")
    assert main(["table", str(one), "--rank-by", "worst"]) == 2
    assert "--rank-by worst needs runs of several orders" in capsys.readouterr().err
