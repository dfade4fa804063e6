"""The script that times the start of commands measures them all, and says which is too slow."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "speed" / "startup.py"
    spec = importlib.util.spec_from_file_location("speed_startup", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["speed_startup"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("goal", "status"), [(60.0, 0), (0.0, 1), (None, 0)])
def test_figures_of_each_command_are_held_against_its_goal(
    script: ModuleType,
    goal: float | None,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(script, "COMMANDS", {"nothing": (["-c", "pass"], goal)})
    assert script.main(["--times", "2", "--json", str(tmp_path / "figures.json")]) == status
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert set(figures) == {"date", "processor", "python", "starts"}
    (start,) = figures["starts"]
    assert (start["name"], start["goal"]) == ("nothing", goal)
    assert 0 < start["processor"] < 60
    assert f"{start['processor']:.2f}" in capsys.readouterr().out


def test_a_command_that_fails_is_no_figure(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "COMMANDS", {"broken": (["-c", "import sys; sys.exit(3)"], None)})
    with pytest.raises(subprocess.CalledProcessError):
        script.measure("broken", 1)
