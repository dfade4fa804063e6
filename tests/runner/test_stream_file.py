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


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("pass", "gives NoneType, but must return an Avalanche benchmark"),
        ("return {}['train']", "ends in line 2 with KeyError: 'train'"),
        ("return 1 + '1'", "ends in line 2 with TypeError: unsupported operand"),
    ],
)
def test_a_function_that_makes_no_stream_is_told_in_one_line(
    body: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"def make_benchmark(seed):\n    {body}\n")
    assert main(["bench", str(file), "--out", str(tmp_path / "runs"), "--seeds", "0"]) == 2
    said = capsys.readouterr().err
    assert f"make_benchmark(0) of '{file}' {message}" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "runs").exists()
