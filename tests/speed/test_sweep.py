"""The parts of ``sweep.py``: what each times is what it says, and a sweep that did something else is no figure."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from clsuite.runner.options import RunOptions
from clsuite.runner.plan import make_plan
from clsuite.runner.spec import BenchmarkSpec

FOLDER = Path(__file__).parents[2] / "benchmarks" / "speed"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)


def part(name: str) -> ModuleType:
    return importlib.import_module(f"sweep_{name}")


@pytest.fixture
def store() -> ModuleType:
    return part("store")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER / "sweep.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_its_methods_are_nine_that_can_run(store: ModuleType, tmp_path: Path) -> None:
    content: dict[str, Any] = {"name": "tiny", "dataset": {"name": "digits"}, "scenario": {"tasks": 5}}
    options = RunOptions(out=tmp_path, methods=(store._nine(2)[1],), seeds=(0, 1))
    plans = make_plan(BenchmarkSpec.model_validate({**content, "methods": {"a": "ncm"}}), tmp_path, options)
    assert {(plan.pending.method, plan.pending.seed) for plan in plans} == {(n, s) for n in store.NINE for s in (0, 1)}
    assert len(store.NINE) == 9


def given(tmp_path: Path) -> argparse.Namespace:
    return argparse.Namespace(scratch=tmp_path, seeds=2)


@pytest.mark.parametrize("fault", ["", "another count", "a run less"])
def test_the_same_counts_are_asked_for(
    fault: str, store: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[Sequence[str]] = []

    def imitated(arguments: Any, out: Path, environment: dict[str, str], options: Sequence[str]) -> None:
        called.append(options)
        assert environment["CLSUITE_CACHE"].startswith(str(tmp_path))
        runs = [(method, seed) for method in store.NINE for seed in range(2)]
        for method, seed in runs[: -1 if fault == "a run less" else None]:
            wrong = fault == "another count" and out.name == "with" and (method, seed) == runs[0]
            path = out / method / f"seed{seed}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"method": method, "seed": seed, "counts": [1 + wrong]}), encoding="utf-8")

    monkeypatch.setattr(store, "sweep", imitated)
    if fault:
        with pytest.raises(SystemExit, match="the counts differ, or are not those of 18 runs"):
            store.measure(given(tmp_path))
        return
    assert store.measure(given(tmp_path))["runs"] == 18
    assert ["--no-feature-store" in options for options in called] == [True, True, False]


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("workers", "--runs", "2", "--epochs", "1"), "2 runs: one worker"),
        (("status", "--records", "60", "--times", "1"), "status of 60 records"),
        (("scheduling", "--runs", "4"), "ms for each of 4 runs (at most 250)"),
    ],
)
def test_a_part_runs_as_it_is_started(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = run(*words, "--scratch", str(tmp_path), "--json", str(figures))
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert json.loads(figures.read_text("utf-8"))["part"] == words[0]


def test_what_a_part_times_is_in_its_help() -> None:
    done = run("--help")
    assert done.returncode == 0, done.stderr
    assert "two workers" in done.stdout.lower()
