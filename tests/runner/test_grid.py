"""Lists as fields of the training: one method per value, with the key that the value alone has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from clsuite.cli.main import main
from clsuite.errors import UserError
from clsuite.runner.grid import expand_grid
from clsuite.runner.methods import MethodSpec
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import make_plan
from clsuite.runner.resolve import outline
from clsuite.runner.spec import BenchmarkSpec
from clsuite.runner.training import lists_in, without_lists

RATES = {"optimizer": {"lr": [0.001, 0.01]}}
CONTENT: dict[str, Any] = {
    "name": "mine",
    "dataset": {"name": "digits"},
    "backbone": {"name": "omniglot_vit", "weights": "bundled", "image_size": 32},
    "seeds": [0],
    "methods": {"finetune": "finetune", "ncm": "ncm"},
}


def names(of_benchmark: Any = None, **options: Any) -> list[str]:
    spec = BenchmarkSpec.model_validate({**CONTENT, "methods": of_benchmark or CONTENT["methods"]})
    return [name for name, _ in outline(spec, RunOptions(**options))]


def test_only_where_one_value_is_expected_a_list_is_a_grid() -> None:
    settings = {"augment": ["flip"], "epochs": [1, 2], "optimizer": {"class": "a:B", "betas": [0.9, 0.99], "lr": 0.1}}
    assert lists_in(settings) == {"epochs": [1, 2]}
    assert without_lists(settings) == {key: value for key, value in settings.items() if key != "epochs"}
    assert lists_in(RATES) == {"optimizer.lr": [0.001, 0.01]}
    assert without_lists(RATES) == {}


def test_a_method_of_a_benchmark_may_have_a_grid_of_training() -> None:
    methods = {"tuned": {"plugins": ["finetune"], "training": {**RATES, "batch_size": 8}}, "ncm": "ncm"}
    assert names(methods) == ["tuned optimizer.lr=0.001", "tuned optimizer.lr=0.01", "ncm"]
    found = expand_grid("tuned", MethodSpec.model_validate(methods["tuned"]), False)
    assert [one.training for one in found.values()] == [
        {"optimizer": {"lr": 0.001}, "batch_size": 8},
        {"optimizer": {"lr": 0.01}, "batch_size": 8},
    ]


def test_a_grid_of_the_call_is_one_of_every_method_and_of_its_arguments() -> None:
    assert names(training=RATES, methods=["replay(capacity=[5, 10])"]) == [
        f"replay(capacity={size}) optimizer.lr={rate}" for size in (5, 10) for rate in (0.001, 0.01)
    ]
    assert names(training={**RATES, "epochs": 2}) == [
        f"{name} optimizer.lr={rate}" for name in ("finetune", "ncm") for rate in (0.001, 0.01)
    ]


def test_a_point_has_the_key_of_its_value(tmp_path: Path) -> None:
    spec = BenchmarkSpec.model_validate({**CONTENT, "methods": {"finetune": "finetune"}})

    def keys(**training: Any) -> list[str]:
        return [plan.pending.key for plan in make_plan(spec, tmp_path, RunOptions(training=training))]

    assert keys(**RATES) == [*keys(optimizer={"lr": 0.001}), *keys(optimizer={"lr": 0.01})]


@pytest.mark.parametrize("training", [{"optimizer": {"lr": []}}, {"epochs": []}])
def test_an_empty_grid_is_refused(training: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"training\.[a-z.]+ is an empty grid: give it a value"):
        names(training=training)


def test_a_wrong_value_is_named_with_its_point_and_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**CONTENT, "methods": {"a": {"plugins": ["ncm"], "training": {"epochs": [1, 0]}}}}))
    assert main(["bench", str(path), "--dry-run"]) == 2
    assert ": methods.a epochs=0: training of method with 'ncm': epochs is 0, but must be at least 1" in (
        told := capsys.readouterr().err
    )
    assert told.startswith(f"clsuite bench: {path}:")
    assert main(["bench", str(path), "--dry-run", "--training", "epochs=[1, 0]"]) == 2
    assert "mine.yaml" not in capsys.readouterr().err


def test_a_list_as_a_setting_says_how_to_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "quickstart", "--dry-run", "--set", "training.optimizer.lr=[0.001, 0.01]"]) == 2
    assert (
        capsys.readouterr()
        .err.strip()
        .endswith(
            "training.optimizer.lr is [0.001, 0.01], but must be a number. "
            "To run with each of its values: --training 'optimizer.lr=[0.001, 0.01]'"
        )
    )


@pytest.mark.slow
def test_the_printed_grid_asks_for_the_same_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ["--training", "optimizer.lr=[0.001, 0.01]", "--seeds", "0", "--out", "runs"]

    def runs(*words: str) -> str:
        assert main(["bench", *words, "--dry-run"]) == 0
        return capsys.readouterr().out

    for methods in ([], ["--methods", "finetune,replay"]):
        assert main(["bench", "quickstart", *methods, *sweep, "--print-config"]) == 0
        (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
        again = runs(str(tmp_path / "printed.yaml"), "--out", "runs")
        assert again == runs("quickstart", *methods, *sweep)
