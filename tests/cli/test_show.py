"""`clsuite show` and `clsuite table` on records that are not as others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clsuite.cli.main import main

ROOT = Path(__file__).parents[2]
TUNING = {
    "metric": "a_metric_of_later", "space": "x", "sampler": "grid", "sampler_seed": 0, "tasks": 2, "validation": 0.1,
    "seed": 0, "chosen": {"lr": 0.1}, "trials": [],
}  # fmt: skip


def a_record(folder: Path, **changes: Any) -> Path:
    """A published record with something changed."""
    records = (ROOT / "leaderboard" / "records" / "quickstart" / "ncm").glob("*.json")
    published = next(path for path in sorted(records) if not path.name.endswith(".rerun.json"))
    path = folder / "seed0.json"
    path.write_text(json.dumps({**json.loads(published.read_text()), **changes}))
    return path


def test_a_metric_that_is_unknown_is_shown_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(a_record(tmp_path, tuning=TUNING))]) == 0
    assert "of the first 2 tasks of seed 0, a_metric_of_later: 0 trials" in capsys.readouterr().out


def test_readings_of_probes_are_shown_and_dashes_where_there_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = [0.5, None, None, None, None, 0.25]
    head = {
        "name": "head",
        "higher_is_better": True,
        "values": values,
        "correct": [2, None, None, None, None, 1],
        "n": 4,
    }
    silent = {"name": "calibration", "higher_is_better": False, "values": [None] * 6}
    assert main(["show", str(a_record(tmp_path, probes=[head, silent]))]) == 0
    told = capsys.readouterr().out
    lines = [line.replace("│", " ").replace("┃", " ").split() for line in told[told.index("probes:") :].splitlines()]
    assert ["nothing", "50.0", "-"] in lines
    assert ["task", "1", "-", "-"] in lines
    assert ["task", "5", "25.0", "-"] in lines
    assert main(["table", str(tmp_path / "seed0.json"), "--format", "csv"]) == 0


@pytest.mark.parametrize("command", ["show", "table"])
def test_a_finished_run_without_a_cost_is_one_line(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(a_record(tmp_path, cost=None))]) == 2
    said = capsys.readouterr().err
    assert ("a finished run has counts and a cost" in said, said.count("\n")) == (True, 1)


def test_a_table_of_a_pattern_takes_the_record_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = a_record(tmp_path)
    path.with_suffix(".npz").write_bytes(b"predictions")
    assert main(["table", str(path), str(path.with_suffix(".npz")), "--format", "csv"]) == 0
    assert "quickstart,ncm" in capsys.readouterr().out
