"""What prompts call classes: curated lists, no underscores or ids, and names of a sequence's parts as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip import IMAGENET_CLASSNAMES
from torch.utils.data import random_split
from torchvision.datasets import Flowers102

from clsuite.data.class_names import ClassName, name_classes
from clsuite.data.curated_names import SYNSETS, imagenet_names
from clsuite.data.datasets import load_table
from clsuite.data.manifest import Sample
from clsuite.data.naming import name_synsets, synset_words
from clsuite.data.readers.division import random_division
from clsuite.data.spec import DatasetSpec
from clsuite.scenarios import ScenarioSpec, build_scenario


def texts(names: tuple[ClassName, ...]) -> list[str]:
    return [name.text for name in names]


def test_imagenets_names_are_open_clips() -> None:
    wnids = sorted(imagenet_names())
    in_table = name_synsets(wnids, synset_words())  # with the id where two classes have one word
    assert sum(name.endswith(")") for name in in_table) == 4
    assert texts(name_classes(in_table, "imagenet")) == [*IMAGENET_CLASSNAMES]
    pairs = zip(in_table, IMAGENET_CLASSNAMES, strict=True)
    assert sum(ours.lower() != theirs.lower() for ours, theirs in pairs) == 297
    assert texts(name_classes(wnids, "a folder")) == [*IMAGENET_CLASSNAMES]


@pytest.mark.parametrize("name", ["imagenet_r", "imagenet_a", "tiny_imagenet"])
def test_parts_of_imagenet_have_its_names(name: str) -> None:
    import timm

    listed = (Path(timm.__file__).parent / "data" / "_info" / f"{SYNSETS[name]}.txt").read_text().split()
    if name == "tiny_imagenet":  # it has one of the two cranes, and neither of the two maillots
        listed = [wnid for wnid in listed if wnid not in ("n02012849", "n03710637", "n03710721")]
    else:
        assert len(listed) == 200
    named = name_classes(name_synsets(listed, synset_words()), name)
    assert texts(named) == [imagenet_names()[wnid] for wnid in listed]


def test_curated_names() -> None:
    assert texts(name_classes(["Faces_easy", "Faces", "yin_yang", "ant"], "caltech101")) == [
        "centered face", "off-center face", "yin and yang symbol", "ant",
    ]  # fmt: skip
    assert texts(name_classes(["sea or lake", "forest"], "eurosat")) == ["lake or sea", "forest"]
    assert texts(name_classes(["0", "9"], "mnist")) == ["0 - zero", "9 - nine"]
    assert texts(name_classes(["0"], "svhn")) == ["0"]
    assert texts(name_classes(["012.dollar_bill", "crane (n02012849)", "n01443537"])) == [
        "dollar bill", "crane", "goldfish",
    ]  # fmt: skip
    assert "pink-yellow dahlia" in texts(name_classes(Flowers102.classes, "flowers102"))


def folder(root: Path, labels: list[str]) -> Path:
    from PIL import Image

    for part in ("train", "test"):
        for number, label in enumerate(labels):
            (root / part / label).mkdir(parents=True)
            Image.new("RGB", (8, 4), (number, len(root.name), 7)).save(root / part / label / "1.png")
    return root


def test_parts_that_share_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path / "cache"))
    folder(tmp_path / "caltech101", ["sea_horse", "car_side"])
    folder(tmp_path / "second", ["sea_horse", "n01443537"])
    parts = [{"name": "image_folder", "path": "caltech101"}, {"name": "image_folder", "path": "second"}]
    spec = DatasetSpec.model_validate({"name": "sequence", "parts": parts})
    for _ in range(2):  # the second time from the cache
        table = load_table(spec, 8, tmp_path)
        assert table.classes == ("car_side", "caltech101/sea_horse", "n01443537", "second/sea_horse")
        scenario = build_scenario(
            table, ScenarioSpec.model_validate({"kind": "cross_domain", "order": ["second", "caltech101"]}), 0
        )
        assert scenario.class_names == (
            ("goldfish", "second"), ("sea horse", "second"),
            ("side of a car", "caltech101"), ("sea horse", "caltech101"),
        )  # fmt: skip


def test_squashed_images_show_their_edges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path / "cache"))
    wide = np.zeros((8, 32, 3), dtype=np.uint8)
    wide[:, :8] = wide[:, 24:] = 255
    for part in ("train", "test"):
        (tmp_path / "wide" / part / "one").mkdir(parents=True)
        Image.fromarray(wide).save(tmp_path / "wide" / part / "one" / "1.png")
    means = []
    for resize in (None, "squash"):
        given = {"name": "image_folder", "path": "wide", "resize": resize}
        table = load_table(DatasetSpec.model_validate(given), 8, tmp_path)
        means.append(float(table.images.mean()))
    assert means[0] == 0
    assert 100 < means[1] < 150
    assert "resize" not in DatasetSpec(name="image_folder", path="wide").model_dump()


def test_a_division_as_a_whole_is_that_of_pytorch() -> None:
    samples = [Sample(f"{number:03d}.jpg", "one", False) for number in range(53)]
    parts = random_split(samples, [42, 11], torch.Generator().manual_seed(42))  # type: ignore[arg-type]
    divided = random_division(samples[::-1], 0.8, 42)
    assert {one.path for one in divided if one.is_test} == {one.path for one in parts[1]}
    assert {one.path for one in divided if not one.is_test} == {one.path for one in parts[0]}
