"""Two processes that learn together, against one: the same counts, whatever the method draws, stores or compares."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parent / "learn_together.py"
QUICK = ("finetune", "replay", "ncm", "finetune:accumulate")
OTHERS = ("pet", "lwf", "der", "lwf+replay", "contrast", "every_hook+replay", "every_hook:accumulate")
METHODS = (*QUICK, *(pytest.param(method, marks=pytest.mark.nightly) for method in OTHERS))
REFUSED = ("finetune:resnet", "own_draws")
Seen = dict[str, dict[str, dict[str, Any]]]
"""What one process saw (``alone``), and what each of two saw (``first``, ``second``), by method."""


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


def learn(factory: pytest.TempPathFactory, methods: tuple[str, ...], refused: tuple[str, ...] = ()) -> Seen:
    folders = [factory.mktemp(name) for name in ("alone", "two")]
    processes = {
        "alone": start(0, 1, folders[0], methods),
        "first": start(0, 2, folders[1], methods + refused),
        "second": start(1, 2, folders[1], methods + refused),
    }
    return {name: seen_by(process) for name, process in processes.items()}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return learn(tmp_path_factory, QUICK, REFUSED)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return learn(tmp_path_factory, OTHERS)


@pytest.fixture
def of_method(method: str, request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    """What each process saw of a method."""
    found: Seen = request.getfixturevalue("others" if method in OTHERS else "seen")
    return {name: of[method] for name, of in found.items()}


@pytest.mark.parametrize("method", METHODS)
def test_two_processes_count_as_one(of_method: dict[str, dict[str, Any]], method: str) -> None:
    """Losses agree to 1e-4 of their size: sums are rounded in another order."""
    alone, first, second = of_method.values()
    assert first == second
    assert first["counts"] == alone["counts"]
    trained = [one["losses"] for one in (first, alone) if one["losses"][0] is not None]
    assert not trained or trained[0] == pytest.approx(trained[1], rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_run_of_two_is_taken_up(of_method: dict[str, dict[str, Any]], method: str) -> None:
    assert of_method["first"]["again"] == of_method["first"]["counts"]


def test_each_process_encodes_its_part_of_a_batch(seen: Seen) -> None:
    assert [seen[name]["finetune"]["largest"] for name in ("alone", "first", "second")] == [8, 4, 4]
    assert [seen[name]["finetune:accumulate"]["largest"] for name in ("alone", "first", "second")] == [4, 2, 2]
    assert seen["first"]["replay"]["largest"] == 8


def test_batch_normalizations_are_refused(seen: Seen) -> None:
    assert "--devices takes batches apart" in seen["first"]["finetune:resnet"]["refused"]


def test_weights_that_drift_apart_end_the_run(seen: Seen) -> None:
    for name in ("first", "second"):
        assert "have different weights after a task" in seen[name]["own_draws"]["refused"]
