"""A stream file that returns clsuite's own scenario."""

from __future__ import annotations

from pathlib import Path

import pytest

from clsuite.cli.main import main

FILE = """
import dataclasses

from clsuite.data import load_dataset
from clsuite.scenarios import ScenarioSpec, build_scenario


def make_benchmark(seed):
    table = load_dataset("digits", image_size={size})
    scenario = build_scenario(table, ScenarioSpec(tasks=2), seed=seed, train_per_class=4)
    first = scenario.tasks[0]
    return {answer}
"""


def test_it_may_return_a_scenario(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FILE.format(size=32, answer="scenario"))
    assert main(["bench", str(file), "--dry-run", "--seeds", "0", "--out", str(tmp_path)]) == 0
    assert "to do  ncm, seed 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("size", "answer", "message"),
    [
        (16, "scenario", "gives a stream of images of 16x16 px, but the benchmark's backbone.image_size is 32"),
        (32, "dataclasses.replace(scenario, kind='mine')", "whose kind is not known: unknown kind 'mine'"),
        (32, "dataclasses.replace(scenario, tasks=())", "gives a stream without tasks"),
        (32, "dataclasses.replace(scenario, tasks=scenario.tasks[1:])", "has the index 1"),
        (32, "dataclasses.replace(scenario, tasks=(dataclasses.replace(first, fingerprint='x'),))",
         "has a fingerprint that is not that of its rows"),
        (32, "dataclasses.replace(scenario, tasks=(dataclasses.replace(first, test=first.train),))",
         "tests images that it trains on"),
    ],
)  # fmt: skip
def test_a_scenario_that_cannot_be_learned_is_refused_in_a_line(
    size: int, answer: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FILE.format(size=size, answer=answer))
    assert main(["bench", str(file), "--dry-run", "--seeds", "0", "--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
