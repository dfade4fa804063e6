"""Mini-MTIL: its streams, its weights, which a recipe makes, and two steps of each of its methods."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from clip_miniatures import write_for_clip
from safetensors.torch import save_file

from clsuite.backbones.clip import build_clip, clip_state
from clsuite.backbones.clip_spec import MADE_BY_RECIPE, PREFIX
from clsuite.backbones.spec import BackboneSpec, Weights
from clsuite.cli.main import main
from clsuite.data.catalog import DATASETS
from clsuite.data.datasets import load_table
from clsuite.pretrain.kinds import read_recipe
from clsuite.records import read_record
from clsuite.runner.spec import load_benchmark, shipped_benchmarks
from clsuite.scenarios import build_scenario

ORDERS = {
    "mini_mtil": ["caltech101", "cifar100", "mnist", "pacs"],
    "mini_mtil_ii": ["mnist", "pacs", "caltech101", "cifar100"],
}
DOMAINS = ("art_painting", "cartoon", "photo", "sketch")
THINGS = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
WEIGHTS = "lit_vit_tiny.safetensors"
FINGERPRINT = "fingerprint: 5a9ac9b49148, "
"""Of the reference images, which are others in tests."""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with few small images of each class, and random weights as the recipe writes them."""
    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "root"
    write_for_clip(folder, monkeypatch, "caltech101", "cifar100")
    monkeypatch.setitem(DATASETS, "pacs", dataclasses.replace(DATASETS["pacs"], total=None))
    images = sorted((folder / "caltech101").rglob("*.jpg"))
    copies = iter(images)
    for home in ("digits_domains/mnist", *(f"pacs/{domain}" for domain in DOMAINS)):
        for label in map(str, range(10)) if home.endswith("mnist") else THINGS:
            for part in ("train", "train", "test"):
                (folder / home / part / label).mkdir(parents=True, exist_ok=True)
                image = next(copies)
                shutil.copy(image, folder / home / part / label / f"{image.parent.name}_{image.name}")
    for number, wnid in enumerate(("n01440764", "n01443537", "n01484850")):
        (folder / "imagenet_probe" / wnid).mkdir(parents=True)
        shutil.copy(images[number], folder / "imagenet_probe" / wnid / "0.jpg")
    torch.manual_seed(0)
    clip = build_clip(BackboneSpec(name="open_clip:lit_vit_tiny", image_size=32), Weights("random"))
    save_file({name: value.half() for name, value in clip_state(clip, 224).items()}, folder / WEIGHTS)
    return folder


def bench(benchmark: str, root: Path, *more: str) -> int:
    settings = ("backbone.image_size=32", "training.steps=2", "training.precision='32'")
    given = [part for setting in settings for part in ("--set", setting)]
    return main(["bench", benchmark, "--data-root", str(root), "--out", str(root.parent / "runs"), *given, *more])


def test_the_weights_are_made_by_a_recipe_which_the_message_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "mini_mtil", "--data-root", str(tmp_path), "--out", str(tmp_path / "runs")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "clsuite pretrain lit_vit_tiny --data-root FOLDER --out FOLDER" in said
    for name in MADE_BY_RECIPE:
        _, recipe = read_recipe(shipped_benchmarks()["mini_mtil"].parent / "pretrain" / f"{name}.yaml")
        assert (recipe.name, recipe.model) == (name, PREFIX + name)  # type: ignore[attr-defined]


def test_the_card_is_that_of_the_recipe() -> None:
    folder = shipped_benchmarks()["mini_mtil"].parent / "pretrain"
    card = json.loads((folder / "lit_vit_tiny.json").read_text("utf-8"))
    _, recipe = read_recipe(folder / "lit_vit_tiny.yaml")
    written = json.loads(recipe.model_dump_json())
    assert {name: card["recipe"][name] for name in written.keys() - {"templates"}} == {
        name: value for name, value in written.items() if name != "templates"
    }
    assert card["zero_shot"]["held_out_images"]["accuracy"] >= written["target"]


def test_it_is_measured_on_nothing_that_the_recipe_trains_on() -> None:
    _, recipe = read_recipe(shipped_benchmarks()["mini_mtil"].parent / "pretrain" / "lit_vit_tiny.yaml")
    spec = load_benchmark("mini_mtil")[0]
    assert spec.backbone.image_size == recipe.image_size  # type: ignore[attr-defined]
    assert spec.dataset is not None
    assert recipe.images not in {name for part in spec.dataset.parts for name in (part.name, part.path)}  # type: ignore[attr-defined]


def test_the_orders_differ_in_nothing_else() -> None:
    first, second = (load_benchmark(name)[0].model_dump() for name in ORDERS)
    for entry in second["tuned"]:
        entry["how"] = entry["how"].removeprefix("on mini_mtil, ")
    assert {key for key in first if first[key] != second[key]} == {"name", "title", "scenario", "seeds"}


@pytest.mark.slow
def test_dry_runs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, order in ORDERS.items():
        assert bench(name, root, "--dry-run") == 0
        spec = load_benchmark(name)[0]
        assert f"{9 * len(spec.seeds)} runs, 0 done" in capsys.readouterr().out
        assert spec.dataset is not None
        scenario = build_scenario(load_table(spec.dataset, 32, root), spec.scenario, 0)
        assert [task.name for task in scenario.tasks] == order
        assert [len(task.classes) for task in scenario.tasks] == [
            {"caltech101": 101, "cifar100": 100, "mnist": 10, "pacs": 7}[task] for task in order
        ]
        assert ("3 - three", "mnist") in scenario.class_names


@pytest.mark.nightly
@pytest.mark.parametrize("name", ORDERS)
def test_two_steps_of_each_method(name: str, root: Path) -> None:
    """On the first two sets of both orders, with references that lack the fingerprint of the true ones."""
    text = shipped_benchmarks()[name].read_text("utf-8")
    assert text.count(FINGERPRINT) == 2
    (root.parent / "mini.yaml").write_text(text.replace(FINGERPRINT, ""))
    assert (
        bench(str(root.parent / "mini.yaml"), root, "--debug", "--methods", "all", "--seeds", "0", "--limit-tasks", "2")
        == 0
    )
    paths = sorted((root.parent / "runs" / name).glob("*/seed0-*.json"))
    assert len(paths) == 11
    for path in paths:
        record = read_record(path)
        assert record.status == "done"
        assert record.config["training"]["head"] == "zero_shot"
        own = {"zero_shot": 0, "moder": 0, "rapf": None}.get(path.parent.name, 2)
        assert own is None or [task.steps for task in record.tasks] == [own, own], path
