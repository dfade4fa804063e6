"""The benchmarks of CLIP have the streams, divisions and prompts of their papers, from data in the official layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clip_miniatures import write_for_clip
from PIL import Image

from clsuite.cli.main import main
from clsuite.data.catalog import MTIL_ORDERS
from clsuite.data.datasets import load_table
from clsuite.records import read_record
from clsuite.runner.file_names import file_name
from clsuite.runner.spec import load_benchmark, shipped_benchmarks
from clsuite.scenarios import Scenario, build_scenario

CLASSES = {"fgvc_aircraft": 100, "caltech101": 101, "cifar100": 100, "dtd": 47, "eurosat": 10, "flowers102": 102,
           "food101": 101, "mnist": 10, "oxford_pets": 37, "stanford_cars": 196, "sun397": 397}  # fmt: skip
WITHOUT_CIFAR = tuple(name for name in MTIL_ORDERS["mtil_i"] if name != "cifar100")
ORDERS = {"mtil": MTIL_ORDERS["mtil_i"], "mtil_ii": MTIL_ORDERS["mtil_ii"], "mtil_few_shot": MTIL_ORDERS["mtil_i"],
          "xtail": WITHOUT_CIFAR}  # fmt: skip
NINE: dict[str, tuple[str, int, int, int]] = {
    "cifar100": ("cifar100", 100, 10, 18), "aircraft": ("aircraft_100", 100, 10, 2),
    "cars": ("cars_100", 100, 10, 8), "food": ("food_100", 100, 10, 1), "ucf": ("ucf_100", 100, 10, 48),
    "cub200": ("cub200_pilot", 200, 20, 1), "imagenet_r": ("imagenet_r_pilot", 200, 20, 7),
    "objectnet": ("objectnet", 200, 20, 7), "sun": ("sun_300", 300, 30, 2),
}  # fmt: skip
"""Data set, number of classes, increment, number of templates of each of C3Box's nine (facts of its code)."""
HALVES = {key: (f"clip_{key}_b0_inc{step}", f"clip_{key}_b{count // 2}_inc{step}")
          for key, (_, count, step, _) in NINE.items()}  # fmt: skip
CHEAP = "aircraft"
"""The one that runs by default; continuous integration has the others too."""
SMALL = ("eurosat", "mnist", "cifar100", "fgvc_aircraft")
"""A stream of these has all sets that a row of the benchmark gives a rate of its own."""
TINY = ("backbone.name=open_clip:clip_nano", "backbone.weights=random", "backbone.image_size=32")
QUICK = ("training.steps=2", "training.warmup_steps=1", "training.batch_size=4", "training.precision='32'")


def bench(name: str, root: Path, out: Path, *more: str, settings: tuple[str, ...] = TINY) -> int:
    given = [part for setting in settings for part in ("--set", setting)]
    return main(["bench", name, "--data-root", str(root), "--out", str(out), "--seeds", "0", *given, *more])


def scenario_of(name: str, root: Path) -> Scenario:
    spec = load_benchmark(name)[0]
    assert spec.dataset is not None
    return build_scenario(load_table(spec.dataset, 32, root), spec.scenario, 0)


def test_every_benchmark_of_clip_is_here() -> None:
    found = {name for name, path in shipped_benchmarks().items() if "open_clip:ViT-" in path.read_text("utf-8")}
    assert found == {*ORDERS, *(name for pair in HALVES.values() for name in pair)}


@pytest.mark.parametrize("key", [key if key == CHEAP else pytest.param(key, marks=pytest.mark.nightly) for key in NINE])
def test_c3box_has_the_order_of_1993(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, count, step, templates = NINE[key]
    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path / "cache"))
    write_for_clip(tmp_path / "root", monkeypatch, data)
    for name, first in zip(HALVES[key], (step, count // 2), strict=True):
        assert bench(name, tmp_path / "root", tmp_path / "runs", "--dry-run") == 0
        assert "3 runs, 0 done, 3 to do" in capsys.readouterr().out
        scenario = scenario_of(name, tmp_path / "root")
        assert [len(task.classes) for task in scenario.tasks] == [first, *[step] * ((count - first) // step)]
        order = np.random.RandomState(1993).permutation(count)
        assert scenario.classes == tuple(scenario.table.classes[label] for label in order)
        spoken = load_benchmark(name)[0].backbone.prompts
        assert isinstance(spoken, dict)
        assert {len(spoken[one.dataset]) for one in scenario.class_names} == {templates}
        assert not any("_" in one.text for one in scenario.class_names)
    if key == "ucf":
        assert "Do Thing Ax A" in [one.text for one in scenario.class_names]


RUNS: list[Any] = [
    pytest.param(NINE[key][0], name, marks=() if (key, number) == (CHEAP, 0) else pytest.mark.nightly)
    for key, pair in HALVES.items()
    for number, name in enumerate(pair)
] + [pytest.param("mtil", name, marks=pytest.mark.nightly) for name in ORDERS]


@pytest.mark.slow
@pytest.mark.parametrize(("data", "name"), RUNS)
def test_two_tasks_with_a_small_clip(data: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path / "cache"))
    write_for_clip(tmp_path / "root", monkeypatch, data)
    call = ("--debug", "--limit-tasks", "2", "--methods", "finetune,zero_shot")
    assert bench(name, tmp_path / "root", tmp_path / "runs", *call, settings=(*TINY, *QUICK)) == 0
    paths = sorted((tmp_path / "runs" / name).glob("*/seed0-*.json"))
    assert [path.parent.name for path in paths] == ["finetune", "zero_shot"]
    for path in paths:
        record = read_record(path)
        assert record.status == "done"
        assert [task.steps for task in record.tasks] == ([2, 2] if path.parent.name == "finetune" else [0, 0])


@pytest.mark.nightly
def test_mtil_whole_from_the_official_layouts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path / "cache"))
    write_for_clip(tmp_path / "root", monkeypatch, "mtil")
    for name, order in ORDERS.items():
        assert bench(name, tmp_path / "root", tmp_path / "runs", "--dry-run") == 0
        assert "5 runs, 0 done, 5 to do" in capsys.readouterr().out
        scenario = scenario_of(name, tmp_path / "root")
        assert [task.name for task in scenario.tasks] == [*order]
        assert len(scenario.classes) == sum(CLASSES[one] for one in order)
        check_names(scenario)
        sizes = {task.name: len(task.train) for task in scenario.tasks}
        if name != "xtail":  # where validation images are trained on
            assert (sizes["fgvc_aircraft"], sizes["dtd"], sizes["flowers102"]) == (100, 47, 102)
            assert name == "mtil_few_shot" or sizes["sun397"] == int(0.8 * 5 * 397)


def check_names(scenario: Scenario) -> None:
    spoken = dict(zip(scenario.classes, scenario.class_names, strict=True))
    assert not any("_" in one.text or one.text.startswith(one.dataset) for one in spoken.values())
    assert spoken["Faces"].text == "off-center face"
    assert spoken["annual crop"] == ("annual crop land", "eurosat")
    assert ("3 - three", "mnist") in spoken.values()


@pytest.mark.nightly
@pytest.mark.timeout(2400)  # eleven methods, some minutes on two free cores
def test_weights_of_full_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights in OpenCLIP's format are loaded as published ones are; they are random here, which takes 600 MB."""
    import open_clip
    import torch

    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path / "cache"))
    write_for_clip(tmp_path / "root", monkeypatch, "mtil")
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-16", load_weights=False, force_quick_gelu=True)
    torch.save(model.state_dict(), tmp_path / "root" / "ViT-B-16.pt")
    del model
    weights = ("backbone.weights=ViT-B-16.pt",)
    call = (tmp_path / "root", tmp_path / "runs")
    assert bench("mtil", *call, "--dry-run", settings=(*weights, "backbone.image_size=32")) == 0
    assert "5 runs, 0 done, 5 to do" in capsys.readouterr().out
    folder = tmp_path / "root" / "imagenet" / "train" / "n01440764"
    folder.mkdir(parents=True)
    Image.new("RGB", (64, 64), "red").save(folder / "tench.JPEG")
    parts = ", ".join(f"{{name: {name}, train_per_class: 1, test_per_class: 1}}" for name in SMALL)
    small = (f"dataset={{name: sequence, division: zscl, parts: [{parts}]}}", "scenario.order=given")
    chosen = ("--debug", "--methods", "all", "--limit-tasks", "1", "--set", "backbone.image_size=64")
    assert bench("mtil", *call, *chosen, settings=(*weights, *QUICK, *small)) == 0
    records = {path.parent.name: read_record(path) for path in (tmp_path / "runs" / "mtil").glob("*/seed0-*.json")}
    assert {*records} == {file_name(name) for name in load_benchmark("mtil")[0].named_methods}
    for name, record in records.items():
        assert record.status == "done", name
        assert record.tasks[0].steps == {"zero_shot": 0, "moder": 0, "rapf": 15}.get(name, 2), name  # RAPF: 15 epochs
        assert {*record.config["backbone"]["templates"]} == {*SMALL}
    cost = records["finetune"].cost
    assert cost is not None
    assert cost.trainable_parameters == cost.total_parameters - 1  # all but the scale
