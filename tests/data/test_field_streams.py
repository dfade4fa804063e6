"""The standard benchmarks have the streams of the papers: sizes, orders, and data in the official layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from whole_miniatures import WRITERS, write_whole

from clsuite.cli.main import main
from clsuite.data.datasets import load_table
from clsuite.records import read_record
from clsuite.runner.spec import load_benchmark, shipped_benchmarks
from clsuite.scenarios import Scenario, build_scenario

OTHER_PROTOCOLS = ("core50",)
"""Standard benchmarks without a miniature of all classes here; those of CLIP are in test_clip_streams.py."""
STREAMS: dict[str, dict[str, list[int]]] = {
    "cifar100": {"cifar100_b0_inc10": [10] * 10, "cifar100_b0_inc5": [5] * 20, "cifar100_few_shot": [60, *[5] * 8]},
    "imagenet_r": {
        "imagenet_r_b0_inc20": [20] * 10, "imagenet_r_b0_inc10": [10] * 20, "imagenet_r_b0_inc40": [40] * 5,
    },
    "imagenet_a": {"imagenet_a_b0_inc20": [20] * 10},
    "cub200": {"cub200_few_shot": [100, *[10] * 10]},
    "cub200_pilot": {"cub200_b0_inc20": [20] * 10, "cub200_b0_inc10": [10] * 20},
    "stanford_cars": {"cars_b0_inc20": [*[20] * 9, 16]},
    "objectnet": {"objectnet_b0_inc20": [20] * 10},
    "omnibenchmark": {"omnibenchmark_b0_inc30": [30] * 10},
    "vtab": {"vtab_b0_inc10": [10] * 5},
    "domainnet": {"domainnet": [345] * 6, "domainnet_b0_inc69": [69] * 5},
    "office_home": {"office_home": [65] * 4},
    "cddb_hard": {"cddb_hard": [2] * 5},
}  # fmt: skip
DOMAINS = {
    "domainnet": ["clipart", "infograph", "painting", "quickdraw", "real", "sketch"],
    "office_home": ["Art", "Clipart", "Product", "Real World"],
    "cddb_hard": ["gaugan", "biggan", "wild", "whichfaceisreal", "san"],
}
GIVEN_ORDER = ("cifar100_few_shot", "cub200_few_shot", "vtab_b0_inc10")
PAPERS = [68, 56, 78, 8, 23, 84, 90, 65]
"""The first classes of CIFAR-100 in PILOT and others, seed 1993."""
TINY = ("backbone.name=vit_tiny_patch16_224", "backbone.weights=random", "backbone.image_size=32", "training.epochs=1")


def bench(name: str, root: Path, out: Path, *more: str) -> int:
    settings = [part for setting in TINY for part in ("--set", setting)]
    return main(["bench", name, "--data-root", str(root), "--out", str(out), "--seeds", "0", *settings, *more])


def is_standard(text: str) -> bool:
    return "\ntier: standard\n" in text and "open_clip:" not in text


def test_every_standard_benchmark_is_here() -> None:
    standard = {name for name, path in shipped_benchmarks().items() if is_standard(path.read_text(encoding="utf-8"))}
    assert {name for names in STREAMS.values() for name in names} | {*OTHER_PROTOCOLS} == standard
    assert set(WRITERS) == set(STREAMS)


@pytest.mark.slow
@pytest.mark.parametrize("data", STREAMS)
def test_the_streams_of_the_papers(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path / "cache"))
    write_whole(data, tmp_path / "root", monkeypatch)
    for name, sizes in STREAMS[data].items():
        assert bench(name, tmp_path / "root", tmp_path / "runs", "--dry-run", "--methods", "ncm") == 0
        assert "1 run, 0 done, 1 to do" in capsys.readouterr().out
        spec = load_benchmark(name)[0]
        assert spec.dataset is not None
        scenario = build_scenario(load_table(spec.dataset, 32, tmp_path / "root"), spec.scenario, 0)
        assert [len(task.classes) for task in scenario.tasks] == sizes
        check_order(name, scenario)


def check_order(name: str, scenario: Scenario) -> None:
    """The order of domains as published; that of classes as given, or as NumPy draws it with 1993."""
    if name in DOMAINS:
        assert [task.name for task in scenario.tasks] == DOMAINS[name]
        return
    order = np.arange(len(scenario.classes))
    if name not in GIVEN_ORDER:
        np.random.seed(1993)
        order = np.random.permutation(len(order))
        assert order[:8].tolist() == PAPERS or len(order) != 100
    assert scenario.classes == tuple(scenario.table.classes[label] for label in order)


CHEAP = "cddb_hard"
"""The one that runs by default; continuous integration has the others too."""
RUNS: list[Any] = [
    pytest.param(data, name, marks=() if name == CHEAP else pytest.mark.nightly)
    for data, names in STREAMS.items()
    for name in names
]


@pytest.mark.slow
@pytest.mark.parametrize(("data", "name"), RUNS)
def test_two_tasks_with_a_small_network(data: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path / "cache"))
    write_whole(data, tmp_path / "root", monkeypatch)
    call = ("--debug", "--limit-tasks", "2", "--methods", "finetune,ncm")
    assert bench(name, tmp_path / "root", tmp_path / "runs", *call) == 0
    paths = sorted((tmp_path / "runs" / name).glob("*/seed0-*.json"))
    assert [path.parent.name for path in paths] == ["finetune", "ncm"]
    for path in paths:
        record = read_record(path)
        assert record.status == "done"
        assert len(record.counts.n) == 2  # type: ignore[union-attr]


def test_an_order_of_numpy_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["bench", "quickstart", "--dry-run", "--methods", "ncm", "--seeds", "0", "--out", str(tmp_path)]
    keys = []
    for setting in ("scenario.order=seed", "scenario.order={numpy: 1993}", "scenario.order={numpy: 1996}"):
        assert main([*call, "--set", setting]) == 0
        keys.append(capsys.readouterr().out)
    assert len(set(keys)) == 3
    for wrong in ("{numpy: -1}", "{numpy: x}", "{numpi: 1993}"):
        assert main([*call, "--set", f"scenario.order={wrong}"]) == 2
        said = capsys.readouterr().err.strip()
        assert "write {numpy: SEED} with a whole number from 0 to 4294967295, such as {numpy: 1993}" in said
        assert "Traceback" not in said
    for wrong, message in (
        ("[5, 4]", "lists 9 classes in 2 tasks, but the data set has 10"),
        ("[0, 10]", "at least one"),
    ):
        assert main([*call, "--set", f"scenario.tasks={wrong}"]) == 2
        assert message in capsys.readouterr().err.replace("\n", " ")
