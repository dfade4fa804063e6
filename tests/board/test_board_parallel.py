"""Several processes that publish into one leaderboard at once lose no row."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from published_records import write_run

from clsuite.board.files import build, check
from clsuite.board.layout import Leaderboard
from clsuite.board.publish import add_records

WAIT = "import sys, time; from pathlib import Path\nwhile not Path(sys.argv[1]).exists(): time.sleep(0.005)\n"
ADD = """
from clsuite.board.layout import Leaderboard
from clsuite.board.publish import add_records
outcomes = add_records([Path(sys.argv[2])], Leaderboard(Path(sys.argv[3])), False, False, lambda record, arrays: "")
assert [one.verdict for one in outcomes] == ["added"] * 3, outcomes
"""
RERUN = """
from clsuite.board.layout import Leaderboard
from clsuite.board.rerun import compare_rerun, find_rows, publish_rerun
from clsuite.records import read_record
place = Leaderboard(Path(sys.argv[3]))
for row, path in find_rows(place, [sys.argv[2]]):
    record = read_record(path)
    publish_rerun(place, row, compare_rerun(record, record), path, record, "")
"""


def at_once(code: str, board: Path, gate: Path, arguments: list[str]) -> None:
    """Run a code in a process for each argument; all begin when all are there."""
    script = "import clsuite.board.publish, clsuite.board.rerun\n" + WAIT + code
    command = [sys.executable, "-c", script, str(gate)]
    running = [
        subprocess.Popen([*command, one, str(board)], stderr=subprocess.PIPE, text=True, env={**os.environ})
        for one in arguments
    ]
    gate.touch()
    for process in running:
        _, said = process.communicate(timeout=100)
        assert process.returncode == 0, said


@pytest.mark.slow
def test_four_that_add_at_once_lose_no_row(tmp_path: Path) -> None:
    methods = ("a", "b", "c", "d")
    for number, method in enumerate(methods):
        for seed in range(3):
            write_run(tmp_path / method, method, seed, 0.5 + 0.1 * number)
    at_once(ADD, tmp_path / "board", tmp_path / "go", [str(tmp_path / method) for method in methods])
    place = Leaderboard(tmp_path / "board")
    rows = json.loads(place.index.read_text())["rows"]
    assert sorted(rows) == [f"tiny/{method}/{seed}" for method in methods for seed in range(3)]
    build(place)
    assert check(place) == []


@pytest.mark.slow
def test_four_that_tell_of_reruns_at_once_lose_none(tmp_path: Path) -> None:
    methods = ("a", "b", "c", "d")
    for number, method in enumerate(methods):
        for seed in range(3):
            write_run(tmp_path / "runs", method, seed, 0.5 + 0.1 * number)
    place = Leaderboard(tmp_path / "board")
    add_records([tmp_path / "runs"], place, False, False, lambda record, arrays: "")
    at_once(RERUN, place.folder, tmp_path / "go", [f"tiny/{method}/*" for method in methods])
    rows = json.loads(place.index.read_text())["rows"]
    assert sum("rerun" in entry for entry in rows.values()) == 12
    build(place)
    assert check(place) == []
