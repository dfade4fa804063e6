"""The splits that papers share: ImageNet-R's list of test images, PILOT's folders, and CDDB-Hard."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from data_miniatures import SYNSETS, Miniature, cddb_hard, imagenet_r, pilot_folders
from test_layouts import _fresh_cache, shrink  # noqa: F401

from clsuite.data import load_dataset
from clsuite.data.catalog import DATASETS
from clsuite.data.dataset import Folders
from clsuite.data.fingerprint import table_fingerprint
from clsuite.data.readers import imagenet_r as reader
from clsuite.data.readers.archives import CDDB_HARD
from clsuite.data.spec import DatasetSpec
from clsuite.errors import DataWarning, UserError


def test_the_shared_list_of_imagenet_r() -> None:
    names = sorted(reader.shared_test_names())
    assert len(names) == 6000
    assert len({name.split("/")[0] for name in names}) == 200
    assert all(re.fullmatch(r"n\d{8}/[a-z]+_\d+\.jpg", name) for name in names)
    content = hashlib.sha256("".join(f"{name}\n" for name in names).encode()).hexdigest()
    assert content == "524a3ebf6dac30228a30387443c2c30a21c483b6d0d3c57768f74edd60cfecc3"


def whole_copy(monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    """Stands in for the 30,000 files of a copy, of which only the names are read here."""
    monkeypatch.setattr(reader, "list_classes", lambda root: [(name, name.split("/")[0]) for name in names])


def test_a_whole_copy_is_divided_into_24000_and_6000(monkeypatch: pytest.MonkeyPatch) -> None:
    tested = sorted(reader.shared_test_names())
    wnids = sorted({name.split("/")[0] for name in tested})
    others = [f"{wnid}/other_{number}.jpg" for wnid in wnids for number in range(120)]
    whole_copy(monkeypatch, [*others, *tested])
    manifest = reader.read_imagenet_r(Path("imagenet-r"))
    DATASETS["imagenet_r"].check(manifest, "the copy")
    assert (int((~manifest.is_test).sum()), int(manifest.is_test.sum())) == (24000, 6000)
    assert manifest.is_test.tolist() == [False] * 24000 + [True] * 6000
    whole_copy(monkeypatch, [*others[:-1], *tested])
    with pytest.raises(UserError, match="23,999 training images, but the official set has 24,000"):
        DATASETS["imagenet_r"].check(reader.read_imagenet_r(Path("imagenet-r")), "the copy")


@pytest.mark.parametrize("lost", [1, 2000])
def test_a_copy_without_test_images_is_refused_by_name(lost: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tested = sorted(reader.shared_test_names())
    whole_copy(monkeypatch, tested[lost:])
    with pytest.raises(
        UserError, match=rf"lacks {lost:,} of the 6,000 test images .*'{tested[0]}'.*different"
    ) as caught:
        reader.read_imagenet_r(Path("imagenet-r"))
    assert "\n" not in str(caught.value)


def test_a_name_in_two_folders_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    tested = sorted(reader.shared_test_names())
    whole_copy(monkeypatch, [*tested, tested[7]])
    with pytest.raises(UserError, match=rf"has '{tested[7]}' in two folders: remove one"):
        reader.read_imagenet_r(Path("imagenet-r"))


def test_the_shared_part_is_used_whatever_folders_the_images_lie_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imagenet_r(Miniature(tmp_path / "official", monkeypatch))
    for path in (tmp_path / "official/imagenet-r").glob("*/*.jpg"):
        part = "test" if path.stem in ("art_3", "art_4") else "train"
        folder = tmp_path / "pilot/imagenet-r" / part / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.name).write_bytes(path.read_bytes())
    shrink("imagenet_r", monkeypatch, classes=2, train=8, test=2, pilot=Folders("imagenet-r", 6, 4))  # type: ignore[arg-type]
    table = load_dataset("imagenet_r", tmp_path / "official", image_size=16)
    assert int(table.is_test.sum()) == 2
    with pytest.warns(DataWarning, match=r"has 2 images in its test folder .*'n01443537/art_4\.jpg'.*layout: pilot"):
        again = load_dataset("imagenet_r", tmp_path / "pilot", image_size=16)
    assert table_fingerprint(again) == table_fingerprint(table)
    folders = load_dataset("imagenet_r", tmp_path / "pilot", image_size=16, layout="pilot")
    assert np.bincount(folders.is_test).tolist() == [6, 4]
    with pytest.raises(
        UserError, match=r"no train and test folders of 'imagenet_r' in '.*official'\. Put there imagenet"
    ):
        load_dataset("imagenet_r", tmp_path / "official", layout="pilot")


@pytest.mark.parametrize("name", ["imagenet_a", "cub200"])
def test_the_folders_of_pilot(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = DATASETS[name].pilot
    assert known is not None
    mini = Miniature(tmp_path, monkeypatch)
    pilot_folders(mini, known.home)
    shrink(name, monkeypatch, classes=2, pilot=Folders(known.home, 6, 4))  # type: ignore[arg-type]
    table = load_dataset(name, tmp_path, image_size=16, layout="pilot")
    assert (np.bincount(table.is_test)).tolist() == [6, 4]
    assert table.classes == (("goldfish", "stingray") if name == "imagenet_a" else tuple(wnid for wnid, _ in SYNSETS))
    shrink(name, monkeypatch, classes=2, pilot=Folders(known.home, 6, 5))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"has 4 test images, but the official set has 5: the copy is incomplete"):
        load_dataset(name, tmp_path, image_size=16, layout="pilot")


def test_numbers_that_only_papers_state_are_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mini = Miniature(tmp_path, monkeypatch)
    pilot_folders(mini, "objectnet")
    shrink("objectnet", monkeypatch, classes=2, train=6, test=5, pilot=Folders("objectnet", 6, 5, certain=False))
    with pytest.warns(UserWarning, match="has 4 test images, and papers state 5: compare with like copies only"):
        assert len(load_dataset("objectnet", tmp_path, image_size=16)) == 10
    shrink("objectnet", monkeypatch, classes=3, pilot=Folders("objectnet", 6, 4, certain=False))
    with pytest.raises(UserError, match="has 2 classes, but the official set has 3"):
        load_dataset("objectnet", tmp_path, image_size=16, layout="pilot")


def test_the_numbers_of_the_papers() -> None:
    pilot = {name: (one.pilot.train, one.pilot.test) for name, one in DATASETS.items() if one.pilot}
    assert pilot == {
        "imagenet_r": (24000, 6000), "imagenet_a": (5981, 1519), "objectnet": (26509, 6628), "vtab": (1796, 8619),
        "omnibenchmark": (89697, 5985), "cub200": (9430, 2358),
    }  # fmt: skip
    assert sum(pilot["cub200"]) == 5994 + 5794
    assert (DATASETS["domainnet"].train, DATASETS["domainnet"].test) == (409832, 176743)


def test_absent_folders_say_what_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_dataset("cub200", tmp_path, layout="pilot")
    said = (
        f"no train and test folders of 'cub200' in '{tmp_path}'. Put there cub/train/CLASS/* and cub/test/CLASS/* as "
    )
    assert str(caught.value) == f"{said}PILOT distributes them (9,430 + 2,358 images)."


def test_a_data_set_without_the_layout() -> None:
    with pytest.raises(
        UserError, match="data set 'cifar100' has no layout 'pilot': only imagenet_r, imagenet_a, object"
    ):
        load_dataset("cifar100", layout="pilot")
    with pytest.raises(ValueError, match="Input should be 'pilot'"):
        DatasetSpec.model_validate({"name": "cub200", "layout": "pilott"})


def test_a_configuration_has_the_layout_only_if_it_is_stated() -> None:
    assert "layout" not in DatasetSpec(name="cub200").model_dump()
    spec = DatasetSpec(name="cub200", layout="pilot")
    assert spec.model_dump()["layout"] == "pilot"
    assert DatasetSpec.model_validate(spec.model_dump()) == spec


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_missing_generator_of_cddb_hard_is_named(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cddb_hard(Miniature(tmp_path, monkeypatch))
    assert set(load_dataset("cddb_hard", tmp_path, image_size=8).domain_names) == set(CDDB_HARD)
    (tmp_path / "CDDB/wild" / part).rename(tmp_path / "gone")
    with pytest.raises(UserError, match=r"CDDB' lacks the generator 'wild' \(train/ and val/\): CDDB-Hard is gau"):
        load_dataset("cddb_hard", tmp_path, image_size=8)
