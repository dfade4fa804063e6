"""What a benchmark's file says of the searches that chose its hyperparameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from clsuite.errors import UserError
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import make_plan
from clsuite.runner.printed import printed_benchmark
from clsuite.runner.resolve import method_config
from clsuite.runner.settings import read_assignments, with_settings
from clsuite.runner.spec import BenchmarkSpec, load_benchmark, shipped_benchmarks

SEARCH = {"methods": ["ewc", "lwf + ewc"], "setting": "ewc.penalty", "values": [1, 1e4], "how": "seed 100"}
CONTENT: dict[str, Any] = {
    "name": "mine",
    "dataset": {"name": "digits", "download": True},
    "methods": {"ewc": {"ewc": {"penalty": 1.0}}, "lwf + ewc": ["lwf", {"ewc": {"penalty": 1.0}}]},
    "more_methods": {"lora": {"plugins": ["pet"], "training": {"optimizer": {"lr": 0.1}}}},
    "tuned": [SEARCH, {"methods": ["lora"], "setting": "optimizer.lr", "how": "seed 100"}],
}


def written(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**CONTENT, **changes}))
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"methods": ["ewk"]}, "unknown method 'ewk'. Did you mean 'ewc'?"),
        ({"methods": []}, "at least 1 entries"),
        ({"setting": "ewk.penalty"}, "unknown setting 'ewk.penalty' of method 'ewc'. Did you mean 'ewc'?"),
        ({"setting": "optimiser.lr"}, "Did you mean 'optimizer'?"),
        ({"setting": "ewc.penalti"}, "unknown setting 'ewc.penalti' of method 'ewc'. Did you mean 'penalty'?"),
        ({"setting": "optimizer.rate"}, "unknown setting 'optimizer.rate' of method 'ewc'. Known: "),
        ({"setting": "epochs.number"}, "unknown setting 'epochs.number' of method 'ewc'."),
        ({"values": [1]}, "list the values that were tried, at least two, or write how many there were; not [1]"),
        ({"values": True}, "list the values that were tried, at least two, or write how many there were; not true"),
        ({"value": [1, 2]}, "Did you mean 'values'?"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = written(tmp_path, tuned=[{**SEARCH, **change}])
    with pytest.raises(UserError) as told:
        load_benchmark(str(path))
    assert said in str(told.value)
    assert str(told.value).startswith(f"{path}:")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("values", "number"), [([1, 2, "a"], 3), (6, 6), (None, None)])
def test_values_or_their_number(tmp_path: Path, values: Any, number: int | None) -> None:
    spec, _ = load_benchmark(str(written(tmp_path, tuned=[{**SEARCH, "values": values}])))
    assert spec.tuned[0].number == number


def test_searches_are_not_part_of_the_keys(tmp_path: Path) -> None:
    options = RunOptions(out=tmp_path / "out", methods=("ewc",), seeds=(0,))
    spec, path = load_benchmark(str(written(tmp_path)))
    without, _ = load_benchmark(str(written(tmp_path, tuned=[])))
    assert [plan.pending.key for plan in make_plan(spec, path.parent, options)] == [
        plan.pending.key for plan in make_plan(without, path.parent, options)
    ]


@pytest.mark.parametrize(
    ("setting", "left"),
    [
        ("training.epochs=2", [("ewc", "lwf + ewc"), ("lora",)]),
        ("methods.ewc.ewc.penalty=3", [("lwf + ewc",), ("lora",)]),
        ("methods={ncm: ncm}", [("lora",)]),
        ("tuned.1.how=seed 7", [("ewc", "lwf + ewc"), ("lora",)]),
    ],
)
def test_a_call_that_changes_a_method_drops_what_is_said_of_it(setting: str, left: list[tuple[str, ...]]) -> None:
    changed = with_settings(BenchmarkSpec.model_validate(CONTENT), read_assignments([setting]))
    assert [search.methods for search in changed.tuned] == left


def test_a_printed_benchmark_keeps_those_of_its_methods(tmp_path: Path) -> None:
    spec, path = load_benchmark(str(written(tmp_path)))
    for methods, left in (((), spec.tuned), (("ewc",), [spec.tuned[0].model_copy(update={"methods": ("ewc",)})])):
        copy = tmp_path / "copy.yaml"
        copy.write_text(printed_benchmark(spec, path.parent, RunOptions(out=tmp_path, methods=methods)))
        assert list(load_benchmark(str(copy))[0].tuned) == list(left)


def test_a_printed_benchmark_says_nothing_of_searches_that_the_call_overrides(tmp_path: Path) -> None:
    spec, path = load_benchmark(str(written(tmp_path)))
    options = RunOptions(out=tmp_path, training={"optimizer": {"lr": 0.5}})
    (tmp_path / "copy.yaml").write_text(printed_benchmark(spec, path.parent, options))
    assert load_benchmark(str(tmp_path / "copy.yaml"))[0].tuned == spec.tuned[:1]


@pytest.mark.slow
def test_what_is_searched_in_shipped_benchmarks_is_a_setting() -> None:
    for name in shipped_benchmarks():
        spec, _ = load_benchmark(name)
        for setting, method in ((search.setting, method) for search in spec.tuned for method in search.methods):
            plugins, found = method_config(spec, method)
            first, _, rest = setting.partition(".")
            arguments = dict(plugins).get(first)
            known = arguments or (found["optimizer"] if rest else found)
            assert (rest or first) in known, (name, method, setting)
