"""The script for whoever has a GPU, on the CPU at a small size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "speed" / "gpu.py"
SMALL = ("--device", "cpu", "--model", "vit_tiny_patch16_224", "--image-size", "32", "--precision", "32")


@pytest.mark.nightly
def test_both_loops_are_timed(tmp_path: Path) -> None:
    words = [*SMALL, "--batch-size", "2", "--steps", "8", "--json", str(tmp_path / "figures.json")]
    done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "of bare" in done.stdout
    bare, ours = json.loads((tmp_path / "figures.json").read_text())
    assert "bare" in bare["name"]
    assert "clsuite" in ours["name"]
    assert min(bare["images_per_second"], ours["images_per_second"]) > 0
    assert 0 < bare["waiting"] < 1
    assert 0 < ours["waiting"] < 1


@pytest.mark.slow
def test_too_few_steps_are_refused() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), *SMALL, "--steps", "4"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "take at least 5" in done.stderr
