"""Two processes that learn together, against one: the same counts, whatever the method draws, stores or compares."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent / "learn_together.py"
METHODS = ("finetune", "replay", "pet", "lwf", "ncm", "der", "lwf+replay", "contrast", "finetune:accumulate")
REFUSED = ("finetune:resnet", "own_draws")


def start(rank: int, number: int, folder: Path, methods: tuple[str, ...]) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(SCRIPT.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {"GLOO_SOCKET_IFNAME": "lo", **os.environ, "PYTHONPATH": path}
    command = [sys.executable, str(SCRIPT), str(rank), str(number), str(folder / "meeting"), *methods]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, encoding="utf-8"
    )


def seen_by(process: subprocess.Popen[str]) -> dict[str, dict[str, Any]]:
    out, error = process.communicate(timeout=500)
    assert process.returncode == 0, error[-3000:]
    return {line.pop("method"): line for line in map(json.loads, out.splitlines())}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, dict[str, Any]]]:
    """What one process saw, and what each of two saw."""
    folders = [tmp_path_factory.mktemp(name) for name in ("alone", "two")]
    processes = {
        "alone": start(0, 1, folders[0], METHODS),
        "first": start(0, 2, folders[1], METHODS + REFUSED),
        "second": start(1, 2, folders[1], METHODS + REFUSED),
    }
    return {name: seen_by(process) for name, process in processes.items()}


@pytest.mark.parametrize("method", METHODS)
def test_two_processes_count_as_one(seen: dict[str, dict[str, dict[str, Any]]], method: str) -> None:
    """Losses agree to 1e-4 of their size: sums are rounded in another order."""
    alone, first, second = (seen[name][method] for name in ("alone", "first", "second"))
    assert first == second
    assert first["counts"] == alone["counts"]
    trained = [one["losses"] for one in (first, alone) if one["losses"][0] is not None]
    assert not trained or trained[0] == pytest.approx(trained[1], rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_run_of_two_is_taken_up(seen: dict[str, dict[str, dict[str, Any]]], method: str) -> None:
    assert seen["first"][method]["again"] == seen["first"][method]["counts"]


def test_each_process_encodes_its_part_of_a_batch(seen: dict[str, dict[str, dict[str, Any]]]) -> None:
    assert [seen[name]["finetune"]["largest"] for name in ("alone", "first", "second")] == [8, 4, 4]
    assert [seen[name]["finetune:accumulate"]["largest"] for name in ("alone", "first", "second")] == [4, 2, 2]
    assert seen["first"]["replay"]["largest"] == 8


def test_batch_normalizations_are_refused(seen: dict[str, dict[str, dict[str, Any]]]) -> None:
    assert "--devices takes batches apart" in seen["first"]["finetune:resnet"]["refused"]


def test_weights_that_drift_apart_end_the_run(seen: dict[str, dict[str, dict[str, Any]]]) -> None:
    for name in ("first", "second"):
        assert "have different weights after a task" in seen[name]["own_draws"]["refused"]
