"""Data sets of Hugging Face: a folder of ``save_to_disk`` is read as the same files are, and mistakes are told."""

from __future__ import annotations

import logging
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from huggingface_hub import constants
from PIL import Image

from clsuite.data.datasets import load_table
from clsuite.data.fingerprint import table_fingerprint
from clsuite.data.spec import DatasetSpec
from clsuite.data.table import ImageTable
from clsuite.errors import DataWarning, UserError
from clsuite.runner.settings import with_settings
from clsuite.runner.spec import load_benchmark

NAMES = ["cat", "ant", "bee"]
Save = Callable[..., Path]


def split_of(files: list[Path], labels: list[Any], label_kind: Any, **columns: Any) -> datasets.Dataset:
    content = {"image": [str(file) for file in files], "label": labels, **columns}
    made = datasets.Dataset.from_dict(content).cast_column("image", datasets.Image())
    return made.cast_column("label", label_kind) if label_kind else made


@pytest.fixture
def save(image_tree: Any, tmp_path: Path) -> Save:
    """Saves the images of a folder as a data set whose classes are not in alphabetical order."""

    def make(train: int = 4, kind: Any = None, splits: tuple[str, ...] = ("train", "test"), **columns: Any) -> Path:
        tree = image_tree(classes=3, train=train, test=2)
        found = {}
        for part, name in zip(("train", "test"), splits, strict=False):
            files = sorted((tree / part).glob("*/*.png"))
            labels = [int(file.parent.name[-1]) for file in files]
            more = {name: [value] * len(files) for name, value in columns.items()}
            found[name] = split_of(files, labels, kind or datasets.ClassLabel(names=NAMES), **more)
        datasets.DatasetDict(found).save_to_disk(tmp_path / "saved")
        return tmp_path / "saved"

    return make


def load(folder: Path, **more: Any) -> ImageTable:
    return load_table(DatasetSpec(name=f"hf:{folder}", **more), 16, workers=1)


def test_the_table_is_that_of_the_same_files(save: Save, tmp_path: Path) -> None:
    table = load(save())
    files = load_table(DatasetSpec(name="image_folder", path=str(tmp_path / "tree")), 16, workers=1)
    assert table.classes == tuple(NAMES)
    for name in ("images", "labels", "is_test", "digests"):
        assert np.array_equal(getattr(table, name), getattr(files, name)), name
    assert table.images.shape == (3 * 6, 3, 16, 16)
    assert table_fingerprint(replace(table, classes=files.classes)) == table_fingerprint(files)


def test_limits_columns_and_splits_are_chosen(save: Save) -> None:
    folder = save(splits=("labeled", "held"), other=7)
    table = load(folder, image="image", label="label", train="labeled", test="held", train_per_class=2)
    assert np.bincount(table.labels[~table.is_test]).tolist() == [2, 2, 2]
    assert np.bincount(table.labels[table.is_test]).tolist() == [2, 2, 2]
    assert load(folder, label="other", train="labeled", test="held").classes == ("7",)


def test_a_share_is_held_out_where_there_is_no_test_part(save: Save) -> None:
    with pytest.warns(UserWarning, match="has no test part: of each class about 50 % are held out"):
        table = load(save(train=8, splits=("train",)), split=0.5)
    assert 0 < table.is_test.sum() < len(table.labels) == 24


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"image": "img"}, r"no column 'img': its columns are image \(Image\), label \(ClassLabel\), text \(Value\)"),
        ({"image": "text"}, "column 'text' of .* is of type Value and has no images: images are in image"),
        ({"label": "labels"}, "has no column 'labels': its columns are image"),
        ({"train": "training"}, r"unknown split of .*: 'training'. Did you mean 'train'\?"),
        ({"test": "val"}, "unknown split of .*: 'val'. Known: test, train"),
        ({"split": 0.2}, "has the test part 'test', so that nothing is held out: remove 'split'"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_the_names_that_there_are(save: Save, more: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        load(save(text="x"), **more)


def test_rows_without_a_label_or_an_image_are_told(save: Save, tmp_path: Path, image_tree: Any) -> None:
    folder = save()
    saved = datasets.load_from_disk(str(folder))
    unlabeled = saved["test"].map(lambda row: {"label": -1}, load_from_cache_file=False)
    datasets.DatasetDict({"train": saved["train"], "test": unlabeled}).save_to_disk(tmp_path / "unlabeled")
    expected = r"6 of 6 rows in split 'test' of .* have no label in column 'label': .* its splits are train, test"
    with pytest.raises(UserError, match=expected):
        load(tmp_path / "unlabeled")
    files = sorted((tmp_path / "tree" / "train").glob("*/*.png"))
    gone = datasets.Dataset.from_dict({"image": [str(files[0]), None], "label": ["a", "a"]})
    gone.cast_column("image", datasets.Image()).save_to_disk(tmp_path / "gone")
    with pytest.raises(UserError, match=r"row 1 of the training part of .* has no image in column 'image'"):
        load(tmp_path / "gone")


def test_the_hub_is_asked_for_what_is_stated(save: Save, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    saved, asked = datasets.load_from_disk(str(save())), []
    monkeypatch.setattr("clsuite.config.network.why_unreachable", lambda url: "")
    monkeypatch.setattr(datasets, "load_dataset", lambda *given, **named: asked.append((given, named)) or saved)
    spec = DatasetSpec(name="hf:owner/birds", config="small", revision="v1")
    assert len(load_table(spec, 16, workers=1).labels) == 18
    assert asked == [(("owner/birds", "small"), {"revision": "v1"})]
    assert spec.model_dump()["name"] == "hf:owner/birds"

    def away(*given: Any, **named: Any) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", away)
    with pytest.raises(UserError, match=r"cannot load data set 'hf:owner/birds': ConnectionError: no network"):
        load_table(spec, 16, workers=1)


def test_a_hub_that_cannot_be_reached_is_told_at_once_and_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        start = time.monotonic()
        with pytest.raises(UserError, match=r"cannot load data set 'hf:owner/away': 127.0.0.1 cannot be reached"):
            load_table(DatasetSpec(name="hf:owner/away"), 16, workers=1)
    assert time.monotonic() - start < 10
    assert capfd.readouterr().err == ""
    assert not constants.HF_HUB_OFFLINE
    assert logging.getLogger("huggingface_hub").level != logging.CRITICAL


def test_a_name_without_owner_or_path_says_what_to_write() -> None:
    for content in ({"name": "hf:"}, {"name": "hf", "path": ""}):
        with pytest.raises(UserError, match=r"hf:OWNER/NAME") as told:
            with_settings(load_benchmark("quickstart")[0], {"dataset": content})
        assert "dataset" in str(told.value)


def test_the_name_of_a_folder_is_a_path_that_records_do_not_hold(save: Save, tmp_path: Path) -> None:
    folder = save()
    spec = DatasetSpec(name=f"hf:{folder}")
    assert (spec.name, spec.path) == ("hf", str(folder))
    assert not {"image", "label", "train", "test", "config", "revision"} & set(spec.model_dump())
    assert len(load_table(DatasetSpec(name="hf:saved"), 16, tmp_path, workers=1).labels) == 18  # below the data root
    with pytest.raises(UserError, match=r"was not written by save_to_disk: it has neither of dataset_dict.json"):
        load(tmp_path / "tree")
    with pytest.raises(UserError, match="data set 'digits' takes no 'image': only those of Hugging Face"):
        load_table(DatasetSpec(name="digits", image="image"), 16)


def test_a_missing_package_is_told_with_its_extra(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save()
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r'pip install "clsuite\[hf\]"'):
        load(folder)


def test_a_picture_is_turned_upright_as_files_are(tmp_path: Path) -> None:
    picture = Image.fromarray(np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3))
    exif = picture.getexif()
    exif[0x0112] = 3
    for name in ("a", "b"):
        picture.rotate({"a": 0, "b": 0}[name]).save(tmp_path / f"{name}.png", exif=exif)
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    split_of(files, ["x", "x"], None).save_to_disk(tmp_path / "saved")
    with pytest.warns(UserWarning, match="has no test part"):
        table = load(tmp_path / "saved")
    assert np.array_equal(table.images[0], np.asarray(picture.rotate(180)).transpose(2, 0, 1))


def test_doubtful_images_are_told_from_the_cache_too(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path / "cache"))
    folder = save()
    train = datasets.load_from_disk(str(folder))["train"]
    test = datasets.concatenate_datasets([train.select([0]), train.select([4])])
    datasets.DatasetDict({"train": train, "test": test}).save_to_disk(tmp_path / "doubtful")
    found = []
    for number in range(3):
        if number == 2:  # as a table of an earlier version
            next((tmp_path / "cache" / "tables").glob("*/doubts.json")).unlink()
        with pytest.warns(DataWarning) as caught:
            load(tmp_path / "doubtful")
        found.append([str(one.message) for one in caught])
    assert found[0] == found[1]
    assert "2 test images in the training part too, for example row 12 and row 0:" in found[2][1]
    assert "has no test images of class 'bee': learned, but never tested" in found[0][0]
    assert "has 2 test images in the training part too, for example" in found[0][1]
