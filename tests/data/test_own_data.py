"""Data sets of somebody's own: every form of a part, and what is wrong with one, in a line."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from clsuite.data import ImageData, load_dataset
from clsuite.data.datasets import load_table
from clsuite.data.fingerprint import table_fingerprint
from clsuite.data.own_data import ALL, Bounds, own_table
from clsuite.data.spec import DatasetSpec
from clsuite.errors import DataWarning, UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])
IMAGES: dict[str, Any] = {
    "arrays": (PIXELS, LABELS),
    "pairs": list(zip(PIXELS, LABELS.tolist(), strict=True)),
    "PIL": [(Image.fromarray(image), int(label)) for image, label in zip(PIXELS, LABELS, strict=True)],
    "torch": TensorDataset(torch.from_numpy(PIXELS)[:, None], torch.from_numpy(LABELS)),
    "floats": TensorDataset(torch.from_numpy(PIXELS)[:, None].float() / 255, torch.from_numpy(LABELS)),
}


class Mine(ImageData):
    def __init__(self, train: Any = None, test: Any = None, classes: Any = ("a", "b", "c")) -> None:
        self.classes = classes
        self.train = IMAGES["arrays"] if train is None else train
        self.test = IMAGES["arrays"] if test is None else test


def table(data: ImageData, size: int = 8, bounds: Bounds = ALL) -> Any:
    return own_table(data, size, "data set 'mine'", ["mine"], bounds)


@pytest.mark.parametrize("form", sorted(IMAGES))
def test_every_form_gives_the_same_table(form: str) -> None:
    made = table(Mine(train=IMAGES[form]))
    assert made.images.shape == (12, 1, 8, 8)
    assert np.array_equal(made.images[:6, 0], PIXELS)
    assert made.labels.tolist() == [*LABELS, *LABELS]
    assert made.is_test.tolist() == [False] * 6 + [True] * 6
    assert made.classes == ("a", "b", "c")
    assert made.domain_names == ("",)


def test_the_size_changes_no_fingerprint_and_the_content_does() -> None:
    first = table_fingerprint(table(Mine()))
    assert table_fingerprint(table(Mine(), size=4)) == first
    other = PIXELS.copy()
    other[0, 0, 0] ^= 1
    assert table_fingerprint(table(Mine(train=(other, LABELS)))) != first


def test_samples_may_have_a_domain() -> None:
    domains = ["sketch", "photo"] * 3
    samples = [(image, int(label), domain) for image, label, domain in zip(PIXELS, LABELS, domains, strict=True)]
    made = table(Mine(train=samples, test=samples))
    assert made.domain_names == ("photo", "sketch")
    assert made.domains.tolist() == [1, 0] * 6


def test_images_of_a_class_may_be_bounded() -> None:
    made = table(Mine(), bounds=Bounds(1, 2))
    assert np.bincount(made.labels[~made.is_test]).tolist() == [1, 1, 1]
    assert np.bincount(made.labels[made.is_test]).tolist() == [2, 2, 2]


def test_a_version_keeps_the_images_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path))

    class Kept(Mine):
        version = "1"

    first = table(Kept())
    again = table(Kept(train=[]))  # not read again
    assert table_fingerprint(again) == table_fingerprint(first)
    assert np.array_equal(again.images, first.images)
    Kept.version = "2"
    with pytest.raises(UserError, match="the train part of data set 'mine' is empty"):
        table(Kept(train=[]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"classes": ()}, "has no 'classes'"),
        ({"classes": "abc"}, "has no 'classes'"),
        ({"classes": ("a", "a")}, "has two classes called 'a'"),
        ({"train": 3}, "has no 'train': set it to a sequence"),
        ({"test": iter([])}, "has no 'test'"),
        ({"test": []}, "the test part of data set 'mine' is empty"),
        ({"train": (PIXELS, LABELS[:5])}, "the train part of data set 'mine' has 6 images, but 5 labels"),
        ({"train": [PIXELS[0]]}, r"sample 0 of the train part of data set 'mine' is a ndarray, but must be \(image"),
        ({"train": [(PIXELS[0], 3)]}, r"image 0 of the train part of data set 'mine' has the label 3: .* in 0\.\.2"),
        ({"train": [(PIXELS[0], 0.5)]}, r"has the label 0\.5"),
        ({"train": [(PIXELS[0], "b")]}, r"has the label b"),
        ({"train": [(PIXELS[0, 0], 0)]}, r"image 0 of the train part .* has shape \(8,\)"),
        ({"train": [(PIXELS[0] / 2, 0)]}, r"they must be uint8, or floats in 0\.\.1"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        table(Mine(**wrong))
    assert len(str(caught.value).splitlines()) == 1


def test_a_class_is_no_name_of_a_data_set() -> None:
    spec = DatasetSpec.model_validate({"class": "my_package.data:Mine", "size": 3, "train_per_class": 5})
    assert (spec.name, spec.train_per_class) == ("Mine", 5)
    assert spec.own is not None
    assert spec.own.args == {"size": 3}
    assert DatasetSpec.model_validate(spec.model_dump()) == spec
    with pytest.raises(UserError, match="is a user-defined class, which only a benchmark can use"):
        load_table(spec, 8)
    with pytest.raises(UserError, match="unknown data set 'Mine'"):
        load_dataset("Mine")


def test_other_data_sets_have_nothing_more_in_their_configuration() -> None:
    assert DatasetSpec(name="digits").model_dump() == {
        "name": "digits", "parts": (), "path": None, "train_per_class": None, "test_per_class": None,
        "fingerprint": None,
    }  # fmt: skip


def told(load: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        load()
    return [str(one.message) for one in caught if issubclass(one.category, DataWarning)]


@pytest.mark.parametrize("version", ["", "1"])
@pytest.mark.parametrize("form", sorted(IMAGES))
def test_doubtful_images_are_told_whenever_they_are_loaded(
    version: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path))
    kept = type("Kept", (Mine,), {"version": version})
    few = [IMAGES[form][index] for index in (1, 3)] if form != "arrays" else (PIXELS[[1, 3]], LABELS[[1, 3]])
    expected = [
        "data set 'mine' has no test images of class 'c': learned, but never tested",
        "data set 'mine' has 2 test images in the training part too, for example image 0 of the test part and image 1 "
        "of the train part: the accuracy on them is that on training images",
    ]
    for _ in range(2):
        assert told(lambda: table(kept(train=IMAGES[form], test=few))) == expected


def test_ordinary_images_are_told_nothing_about() -> None:
    assert told(lambda: table(Mine(test=(255 - PIXELS, LABELS)))) == []
    twice = (PIXELS[[0, 0, 1, 2]], LABELS[[0, 0, 1, 2]])
    assert told(lambda: table(Mine(train=twice, test=(255 - PIXELS, LABELS)))) == []
