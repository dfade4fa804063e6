"""`clsuite bench my_stream.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from clsuite.cli.main import main
from clsuite.errors import UserError
from clsuite.runner.spec import load_benchmark

STREAM = """
from clsuite.data.datasets import load_table
from clsuite.data.spec import DatasetSpec
from clsuite.scenarios import ScenarioSpec, build_scenario


def make_benchmark(seed):
    table = load_table(DatasetSpec(name="digits"), 8)
    return build_scenario(table, ScenarioSpec(tasks=2), seed=seed, train_per_class=4).to_avalanche()
"""


def test_a_stream_file_is_a_benchmark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my stream.py").write_text(STREAM)
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "./my stream.py", "--dry-run", "--seeds", "0"]) == 0
    shown = capsys.readouterr().out
    assert all(f"to do  {method}, seed 0" in shown for method in ("finetune", "replay", "ncm"))
    assert "runs/my_stream/" in shown
    assert main(["bench", str(tmp_path / "my stream.py"), "--dry-run", "--methods", "ncm", "--seeds", "1"]) == 0
    assert "ncm, seed 1" in capsys.readouterr().out


def test_an_absent_stream_file_is_named() -> None:
    with pytest.raises(UserError, match=r"no stream file at 'absent\.py'"):
        load_benchmark("absent.py")
