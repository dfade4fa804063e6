"""Mistakes of several methods are told at once, each with the line of its method."""

from __future__ import annotations

from pathlib import Path

import pytest

from clsuite.cli.main import main

BENCH = """\
name: own
dataset: {name: digits}
seeds: [0]
methods:
  good: ncm
  unknown: reply
  argument: replay(capacty=5)
  typed:
    lwf: {alpha: big}
  pair: [joint, replay]
  trained: {plugins: [finetune], training: {epoch: 2}}
"""
EXPECTED = """\
6: methods.unknown: unknown plugin 'reply'. Did you mean 'replay'?
7: methods.argument: unknown argument of plugin 'replay': 'capacty'. Did you mean
9: methods.typed: argument 'alpha' of plugin 'lwf' is 'big', but must be a number
10: methods.pair: 'joint' and 'replay' cannot be combined: joint
11: methods.trained: unknown training key of method with 'finetune': 'epoch'. Did you mean 'epochs'
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text(BENCH)


def test_each_method_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "own.yaml", "--dry-run"]) == 2
    told = capsys.readouterr().err.removeprefix("clsuite bench: ").splitlines()
    assert len(told) == len(EXPECTED.splitlines())
    for line, expected in zip(told, EXPECTED.splitlines(), strict=True):
        assert line.startswith(f"own.yaml:{expected}"), line


def test_one_mistake_of_a_named_method_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "own.yaml", "--dry-run", "--methods", "good,typed"]) == 2
    assert capsys.readouterr().err.startswith("clsuite bench: own.yaml:9: methods.typed: argument 'alpha'")


def test_what_the_command_line_says_has_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "own.yaml", "--dry-run", "--methods", "good", "--training", "epoch=2"]) == 2
    assert capsys.readouterr().err.startswith("clsuite bench: unknown training key of this call: 'epoch'.")
    assert main(["bench", "own.yaml", "--dry-run", "--methods", "replay(capacty=5)"]) == 2
    assert capsys.readouterr().err.startswith("clsuite bench: unknown argument of plugin 'replay': 'capacty'.")
