"""clsuite analyze over several records, and over the models that runs have saved."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

from clsuite.cli.main import main
from clsuite.errors import UserError
from clsuite.runner.model_file import load_model, saved_weights


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    words = ["bench", "quickstart", "--methods", "finetune", "--seeds", "0,1", "--limit-tasks", "1", "--save-model"]
    words += ["--set", "dataset.train_per_class=24", "--set", "dataset.test_per_class=8"]
    assert main([*words, "--out", str(folder)]) == 0
    return sorted((folder / "quickstart" / "finetune").glob("*.json"))


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as opened:
        return list(csv.DictReader(opened))


def test_models_are_compared_module_by_module(records: list[Path], tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "apart.svg"
    assert main(["analyze", "distance", *map(str, records), "-o", str(out)]) == 0
    told = capsys.readouterr().out
    assert "distance between models: mean |difference| of a parameter" in told
    assert "quickstart: finetune, seed 0 and quickstart: finetune, seed 1" in told
    one, other = (load_model(path).learner.state_dict() for path in records)
    rows = read(out.with_suffix(".csv"))
    (row,) = [row for row in rows if (row["block"], row["kind"]) == ("0", "MLP fc1")]
    names = [name for name in one if "blocks.0.mlp.fc1" in name]
    distance = sum(float((one[name] - other[name]).double().abs().sum()) for name in names)
    assert len(names) == 2
    assert float(row["distance_l1"]) == pytest.approx(distance, rel=1e-6)
    assert row["between"] == "models"
    assert "between models" in out.read_text()


def test_weights_are_read_without_a_plugin(records: list[Path]) -> None:
    weights, learner = saved_weights(records[0]), load_model(records[0]).learner
    assert weights.keys() == learner.state_dict().keys()
    assert all(torch.equal(value, weights[name]) for name, value in learner.state_dict().items())
    assert saved_weights(records[0].with_suffix(".pt")).keys() == weights.keys()
    with pytest.raises(UserError, match="cannot read the record"):
        saved_weights(records[0].with_name("gone.json"))


def test_the_sensitivity_of_several_is_their_mean(records: list[Path], tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "moves.svg"
    assert main(["analyze", "sensitivity", *map(str, records), "-o", str(out)]) == 0
    told = capsys.readouterr().out
    for seed in (0, 1):
        assert f"finetune, seed {seed} came out again to the record's accuracy matrix" in told
    rows = read(out.with_suffix(".csv"))
    assert {row["run"] for row in rows} == {f"quickstart: finetune, seed {seed}" for seed in (0, 1)}
    assert "mean of 2" in out.read_text()


def test_what_cannot_be_compared_is_told(records: list[Path], tmp_path: Path, capsys: Any) -> None:
    assert main(["analyze", "distance", str(records[0])]) == 2
    assert "give the records of two runs or more" in capsys.readouterr().err
    alone = tmp_path / records[0].name
    alone.write_bytes(records[0].read_bytes())
    assert main(["analyze", "distance", str(alone), str(records[1])]) == 2
    assert "run the benchmark with --save-model" in capsys.readouterr().err
