"""Orders apart from seeds: what is planned, under which keys, and a search over real and over made-up runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import clsuite
from clsuite.cli.main import main
from clsuite.errors import UserError
from clsuite.records import CostEntry, CountsEntry, RunRecord
from clsuite.records.order import order_name
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import Planner, RunPlan, make_plan
from clsuite.runner.spec import BenchmarkSpec
from clsuite.tuning.extreme_orders import ExtremeOrders

TINY: dict[str, Any] = {
    "name": "tiny",
    "dataset": {"name": "digits", "train_per_class": 2, "test_per_class": 2},
    "scenario": {"tasks": 5},
    "training": {"precision": "32"},
    "seeds": [4, 5],
    "methods": {"ncm": "ncm", "finetune": "finetune"},
}


def spec(**changes: Any) -> BenchmarkSpec:
    return BenchmarkSpec.model_validate({**TINY, **changes})


def planned(out: Path, changes: Mapping[str, Any] | None = None, **options: Any) -> list[RunPlan]:
    return make_plan(spec(**(changes or {})), out, RunOptions(out=out, **options))


def test_an_order_is_the_same_for_every_method_and_seed(tmp_path: Path) -> None:
    plans = planned(tmp_path, orders=3, seeds=[0, 1])
    assert len(plans) == len({plan.record_path for plan in plans}) == 12
    classes: dict[str, set[tuple[str, ...]]] = {}
    for plan in plans:
        classes.setdefault(order_name(plan.pending), set()).add(tuple(plan.pending.scenario.classes))
    assert sorted(classes) == ["0", "1", "2"]
    assert all(len(found) == 1 for found in classes.values())
    assert len(set.union(*classes.values())) == 3
    assert plans[0].name == "ncm, seed 0, order 0"


def test_the_first_seed_is_run_unless_others_are_given(tmp_path: Path) -> None:
    assert {plan.pending.seed for plan in planned(tmp_path, orders=2)} == {4}
    assert {plan.pending.seed for plan in planned(tmp_path, orders=2, seeds=[7, 5])} == {7, 5}
    assert {plan.pending.seed for plan in planned(tmp_path)} == {4, 5}


def test_the_key_is_that_of_a_benchmark_with_the_order_seed(tmp_path: Path) -> None:
    ours = planned(tmp_path, orders=3, methods=["ncm"])[2]
    written = planned(
        tmp_path, {"scenario": {"tasks": 5, "order": "seed", "order_seed": 2}}, methods=["ncm"], seeds=[4]
    )
    assert ours.pending == written[0].pending
    given = planned(tmp_path, {"scenario": {"tasks": 5, "order": "given"}}, orders=3, methods=["ncm"])[2]
    assert given.pending.key == ours.pending.key  # an order of the benchmark gives way
    assert all("order 2" not in plan.name for plan in planned(tmp_path))


def test_runs_of_all_orders_are_checked_as_one_method(tmp_path: Path) -> None:
    plans = planned(tmp_path, orders=3, methods=["ncm"])
    assert len({plan.recipe for plan in plans}) == 1
    assert plans[0].recipe != planned(tmp_path, methods=["ncm"])[0].recipe


def test_domains_are_ordered_too(tmp_path: Path) -> None:
    parts = [{"name": "digits", "train_per_class": 1, "test_per_class": 1}] * 2
    sequence = {"dataset": {"name": "sequence", "parts": parts}, "scenario": {"kind": "cross_domain"}}
    plans = planned(tmp_path, sequence, orders=4, methods=["ncm"])
    assert len({tuple(plan.pending.scenario.task_names) for plan in plans}) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--orders", "many"], "--orders: write a number of orders, such as 20, or 'extreme', not 'many'"),
        (["--orders", "0"], "--orders: write a number of orders"),
        (["--orders", "extreme", "--order-budget", "4"], "--order-budget is 4, but must be at least 5"),
        (["--orders", "extreme", "--plan-only"], "--orders extreme decides its runs as it goes: leave out --plan-only"),
        (["--rank-by", "worst"], "--rank-by worst needs several orders"),
        (["--orders", "extreme", "--limit-tasks", "2"], "--orders extreme searches orders of whole streams"),
        (["--orders", "extreme", "--set", "scenario={kind: blurry}"], "the stream is of kind 'blurry'"),
        (["--orders", "extreme", "--set", "scenario.tasks=1"], "needs a stream of two or more tasks"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    assert main(["bench", str(path), "--out", str(tmp_path / "runs"), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert not (tmp_path / "runs").exists()


def test_a_stream_that_decides_its_order_is_refused(tmp_path: Path) -> None:
    (tmp_path / "stream.py").write_text("def make_benchmark(seed):\n    raise SystemExit\n")
    own = {"dataset": None, "scenario": {"kind": "avalanche", "path": "stream.py"}}
    with pytest.raises(UserError, match="kind 'avalanche' is decided by its own code"):
        planned(tmp_path, own, orders=2)


def made_up(plan: RunPlan) -> RunRecord:
    """A record whose final accuracy follows from the order of its classes alone."""
    classes = [int(name) for name in plan.pending.scenario.classes]
    lost = sum(abs(first - second) for first, second in zip(classes[::2], classes[1::2], strict=True))
    rows = [[0] * 5] + [[0] * 5] * 4 + [[max(0, 100 - lost)] * 5]
    counts = CountsEntry(class_incremental=rows, task_aware=[[100] * 5] * 6, n=[100] * 5)
    cost = CostEntry(
        peak_memory_bytes=1, total_parameters=1, trainable_parameters=0, stored_bytes={}, forward_flops_per_image=1,
        training_flops=0,
    )  # fmt: skip
    return plan.pending.model_copy(update={"status": "done", "counts": counts, "cost": cost})


class Runs:
    """Does made-up runs, each once."""

    def __init__(self) -> None:
        self.done: dict[Path, RunRecord] = {}
        self.rounds: list[int] = []

    def __call__(self, plans: Sequence[RunPlan]) -> dict[Path, RunRecord]:
        missing = [plan for plan in plans if plan.record_path not in self.done]
        self.rounds.append(len(missing))
        self.done |= {plan.record_path: made_up(plan) for plan in missing}
        return {plan.record_path: self.done[plan.record_path] for plan in plans}


def extremes(out: Path, runs: Runs, **options: Any) -> ExtremeOrders:
    planner = Planner.of(spec(), out, RunOptions(out=out, orders="extreme", **options))
    labels = np.arange(10.0)
    search = ExtremeOrders(planner, lambda plan: -np.abs(labels[:, None] - labels[None, :]) / 9)
    search.run(runs)
    return search


def test_a_search_runs_its_budget_of_each_method_and_goes_on_where_it_was(tmp_path: Path) -> None:
    runs = Runs()
    small, large = extremes(tmp_path, runs, order_budget=9), extremes(tmp_path, runs, order_budget=12)
    assert [found.runs for found in small.found()] == [9, 9]
    assert [found.runs for found in large.found()] == [12, 12]
    assert sum(runs.rounds) == len(runs.done) == 24
    for before, after in zip(small.found(), large.found(), strict=True):
        assert after.lowest <= before.lowest
        assert after.highest >= before.highest
    names = {order_name(plan.pending) for plan in large.plans}
    assert {"0", "1", "2"} < names  # the drawn orders, of which tables have their mean
    ncm = next(large.found())
    assert ncm.lowest == min(max(0, made_up(plan).main_counts.accuracy[-1, 0]) for plan in large.plans)
    assert str(ncm).startswith(f"ncm: of 12 orders worst {100 * ncm.lowest:.1f} % (")
    assert sorted(name for task in ncm.worst for name in task) == [str(label) for label in range(10)]


def test_seeds_are_averaged_and_failures_left_out(tmp_path: Path) -> None:
    def do(plans: Sequence[RunPlan]) -> dict[Path, RunRecord]:
        return {
            plan.record_path: made_up(plan) if plan.pending.seed == 1 else
            plan.pending.model_copy(update={"status": "failed", "error": "no"}) for plan in plans
        }  # fmt: skip

    planner = Planner.of(spec(), tmp_path, RunOptions(out=tmp_path, orders="extreme", order_budget=5, seeds=[0, 1]))
    search = ExtremeOrders(planner, lambda plan: np.eye(10))
    search.run(do)
    assert [found.runs for found in search.found()] == [5, 5]
    assert len(search.plans) == 20


@pytest.mark.slow
def test_orders_of_a_real_stream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "tiny.yaml", tmp_path / "runs"
    path.write_text(yaml.safe_dump({**TINY, "methods": {"ncm": "ncm"}}))
    command = ["bench", str(path), "--out", str(out), "--debug", "--orders"]
    assert main([*command, "2"]) == 0
    assert "over orders drawn at random" in " ".join(capsys.readouterr().out.split())
    assert main([*command, "extreme", "--order-budget", "5", "--rank-by", "worst"]) == 0
    assert "ncm: of 5 orders worst " in capsys.readouterr().out
    records = sorted((out / "tiny" / "ncm").glob("seed4-*.json"))
    assert len(records) == 5  # two of the three drawn orders were done
    final = {round(float(clsuite.read_record(path).main_counts.correct[-1].sum()), 9) for path in records}
    assert len(final) == 1  # class means know no order
    head, line = (out / "tiny" / "summary.csv").read_text().splitlines()
    assert "final_accuracy_macro_min" in head
    assert line.startswith("ncm,4,")
