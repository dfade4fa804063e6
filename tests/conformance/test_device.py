"""Every registered method on a device that is not the CPU: no tensor on the wrong one, no step that waits for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from python_devices import needs_python_devices

from clsuite.plugin.catalog import catalog

pytestmark = [needs_python_devices, pytest.mark.slow, pytest.mark.timeout(1800)]
HERE = Path(__file__).parent
WAITING = {
    "agem": "asks whether the gradients disagree",
    "der": "stores logits of what stays in its buffer",
    "dual_prompt": "chooses rows by a mask",
    "er_ace": "looks up the rows of both terms",
    "er_aml": "draws a positive and a negative for each new sample",
    "foster": "weighs classes by counts that are kept in main memory",
    "gem": "asks whether the gradients disagree",
    "gss": "scores what enters its buffer",
    "kfpf": "stores logits of what stays in its buffer",
    "l2m": "counts which entries were chosen",
    "lucir": "chooses exemplars by a mask",
    "lwf": "chooses the rows that it knows by a mask",
    "mir": "chooses exemplars by their losses",
    "mix_cd": "notes which exemplars were confused",
    "sparse_memory": "counts which values were read",
    "vpt_nsp2": "has its projections in main memory",
}
"""Methods whose own steps wait for the device, and for what."""
FEW = ("coda_prompt", "der", "ewc", "finetune", "hide", "l2p", "lwf", "pet", "ranpac", "replay", "sema", "slca")
"""Methods that continuous integration learns on a device; the others are nightly."""
REGISTERED = [name if name in FEW else pytest.param(name, marks=pytest.mark.nightly) for name in sorted(catalog())]
MISTAKES = ("OnCpuInLoss", "OnCpuInPredict", "WaitsInLoss")
CASES = ("augmented", "every_hook", "on_cpu", "options", "read_ahead", "resumed", "within_tasks", "zero_shot_head")


@pytest.fixture(scope="module")
def seen(request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    """What a process of its own saw of the methods that are asked for: see ``learn_on_device.py``."""
    here = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    asked = {item.callspec.params["name"] for item in here if "name" in item.callspec.params}
    command = [sys.executable, str(HERE / "learn_on_device.py"), *sorted(asked), *MISTAKES, *CASES]
    path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, capture_output=True, text=True, timeout=1700, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stderr[-3000:]
    return {case.pop("name"): case for case in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", REGISTERED)
def test_registered_methods_learn_on_a_device(seen: dict[str, dict[str, Any]], name: str) -> None:
    assert seen[name].get("error") is None
    assert seen[name]["devices"] in (["simulated:0"], [])
    assert seen[name]["accuracy"] > 0.2  # of four classes, after eight steps
    assert seen[name]["table_there"]
    assert bool(seen[name]["waits"]) == (name in WAITING), seen[name]["waits"]


@pytest.mark.parametrize("mistake", ["OnCpuInLoss", "OnCpuInPredict"])
def test_a_tensor_on_the_cpu_ends_the_run(seen: dict[str, dict[str, Any]], mistake: str) -> None:
    assert "Expected all tensors to be on the same device" in seen[mistake]["error"]


def test_a_value_that_is_read_in_a_step_is_seen(seen: dict[str, dict[str, Any]]) -> None:
    assert sum(seen["WaitsInLoss"]["waits"].values()) == 4


@pytest.mark.parametrize("case", ["options", "every_hook", "augmented", "zero_shot_head", "resumed"])
def test_options_learn_on_a_device(seen: dict[str, dict[str, Any]], case: str) -> None:
    assert seen[case].get("error") is None
    assert seen[case]["devices"] == ["simulated:0"]


@pytest.mark.parametrize("case", ["options", "every_hook", "zero_shot_head", "resumed"])
def test_no_step_waits_for_the_device(seen: dict[str, dict[str, Any]], case: str) -> None:
    assert seen[case]["waits"] == {}


def test_the_device_counts_as_the_cpu_does(seen: dict[str, dict[str, Any]]) -> None:
    assert seen["on_cpu"]["counts"] == seen["on_cpu"]["cpu"]


def test_a_run_is_taken_up_on_the_device(seen: dict[str, dict[str, Any]]) -> None:
    assert seen["resumed"]["counts"] == seen["resumed"]["undisturbed"]


def test_accuracy_is_read_within_tasks_on_the_device(seen: dict[str, dict[str, Any]]) -> None:
    assert min(seen["within_tasks"]["points"]) >= 3


def test_a_table_that_does_not_fit_is_read_ahead(seen: dict[str, dict[str, Any]]) -> None:
    """And the counts are the same."""
    assert not seen["read_ahead"]["table_there"]
    assert seen["read_ahead"]["kept"]["table_there"]
    assert seen["read_ahead"]["counts"] == seen["read_ahead"]["kept"]["counts"]
    assert seen["read_ahead"]["waits"] == {}
