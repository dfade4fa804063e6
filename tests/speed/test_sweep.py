"""The sweep with shared features: nine methods that can run, the same counts both times, and a share of the time."""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from clsuite.runner.options import RunOptions
from clsuite.runner.plan import make_plan
from clsuite.runner.spec import BenchmarkSpec


@pytest.fixture(scope="module")
def sweep() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "speed" / "sweep.py"
    spec = importlib.util.spec_from_file_location("speed_sweep", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_its_methods_are_nine_that_can_run(sweep: ModuleType, tmp_path: Path) -> None:
    content: dict[str, Any] = {"name": "tiny", "dataset": {"name": "digits"}, "scenario": {"tasks": 5}}
    options = RunOptions(out=tmp_path, methods=(sweep._nine(2)[1],), seeds=(0, 1))
    plans = make_plan(BenchmarkSpec.model_validate({**content, "methods": {"a": "ncm"}}), tmp_path, options)
    assert {(plan.pending.method, plan.pending.seed) for plan in plans} == {(n, s) for n in sweep.NINE for s in (0, 1)}
    assert len(sweep.NINE) == 9


def given(tmp_path: Path) -> argparse.Namespace:
    return argparse.Namespace(scratch=tmp_path, seeds=2)


@pytest.mark.parametrize("fault", ["", "another count", "a run less"])
def test_the_same_counts_are_asked_for(
    fault: str, sweep: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[Sequence[str]] = []

    def run(arguments: Any, out: Path, environment: dict[str, str], options: Sequence[str]) -> None:
        called.append(options)
        assert environment["CLSUITE_CACHE"].startswith(str(tmp_path))
        runs = [(method, seed) for method in sweep.NINE for seed in range(2)]
        for method, seed in runs[: -1 if fault == "a run less" else None]:
            wrong = fault == "another count" and out.name == "with" and (method, seed) == runs[0]
            path = out / method / f"seed{seed}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"method": method, "seed": seed, "counts": [1 + wrong]}), encoding="utf-8")

    monkeypatch.setattr(sweep, "sweep", run)
    if fault:
        with pytest.raises(SystemExit, match="the counts differ, or are not those of 18 runs"):
            sweep.store(given(tmp_path))
        return
    assert sweep.store(given(tmp_path))["runs"] == 18
    assert ["--no-feature-store" in options for options in called] == [True, True, False]
