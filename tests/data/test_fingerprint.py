"""Fingerprints: what changes them, and what happens when they differ."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clsuite.data import ImageTable, load_dataset
from clsuite.data.catalog import DATASETS
from clsuite.data.datasets import load_table
from clsuite.data.fingerprint import check_remembered, table_fingerprint
from clsuite.data.spec import DatasetSpec
from clsuite.errors import UserError


@pytest.fixture
def pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with a plain tree of four images, called pacs, and a cache of its own."""
    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path / "cache"))
    facts = dataclasses.replace(DATASETS["pacs"], classes=2, domains=1, total=None)
    monkeypatch.setitem(DATASETS, "pacs", facts)
    for index, name in enumerate(("train/cat", "train/dog", "test/cat", "test/dog")):
        folder = tmp_path / "root" / "pacs" / name
        folder.mkdir(parents=True)
        Image.new("RGB", (8, 8), (index, 0, 0)).save(folder / "1.png")
    return tmp_path / "root"


def swap(root: Path) -> None:
    Image.new("RGB", (8, 8), (99, 0, 0)).save(root / "pacs/test/dog/1.png")


def test_the_order_of_the_rows_does_not_change_it(numbered_table: ImageTable) -> None:
    order = np.random.RandomState(0).permutation(len(numbered_table))
    columns = {name: getattr(numbered_table, name)[order] for name in ("images", "labels", "domains", "is_test",
                                                                        "digests")}  # fmt: skip
    shuffled = dataclasses.replace(numbered_table, **columns)
    assert table_fingerprint(shuffled) == table_fingerprint(numbered_table)


@pytest.mark.parametrize(
    ("column", "value"),
    [("labels", 2), ("domains", 1), ("is_test", False), ("digests", 0), ("classes", ("a", "b", "d")),
     ("domain_names", ("x",))],
)  # fmt: skip
def test_each_column_and_name_changes_it(numbered_table: ImageTable, column: str, value: object) -> None:
    before = getattr(numbered_table, column)
    changed = value
    if not isinstance(value, tuple):
        changed = before.copy()
        changed[0] = value
        assert not np.array_equal(changed, before)
    other = dataclasses.replace(numbered_table, **{column: changed})
    assert table_fingerprint(other) != table_fingerprint(numbered_table)


def test_labels_that_change_places_change_it(numbered_table: ImageTable) -> None:
    labels = numbered_table.labels.copy()
    labels[[0, 59]] = labels[[59, 0]]
    assert table_fingerprint(dataclasses.replace(numbered_table, labels=labels)) != table_fingerprint(numbered_table)


@pytest.mark.slow
def test_the_digits_have_the_stated_one_at_every_size() -> None:
    for size in (8, 11):
        assert table_fingerprint(load_dataset("digits", image_size=size)) == DATASETS["digits"].fingerprint


def test_other_digits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "digits", dataclasses.replace(DATASETS["digits"], fingerprint="0" * 32))
    with pytest.raises(UserError, match=r"'digits' has the fingerprint bf772\w+, but clsuite states 0{32}"):
        load_dataset("digits", image_size=8)


def test_a_changed_copy_is_named_with_both(pets: Path, tmp_path: Path) -> None:
    before = table_fingerprint(load_dataset("pacs", pets, image_size=8))
    swap(pets)
    with pytest.raises(UserError) as caught:
        load_dataset("pacs", pets, image_size=8)
    said = str(caught.value)
    written = tmp_path / "cache" / "fingerprints" / "pacs-tree-all-all"
    assert f"had {before} when it was first loaded" in said
    assert f"delete '{written}'" in said
    written.unlink()
    after = table_fingerprint(load_dataset("pacs", pets, image_size=8))
    assert f"has the fingerprint {after}" in said
    assert after != before


def test_an_unchanged_copy_at_another_size_or_place_is_the_same(pets: Path) -> None:
    load_dataset("pacs", pets, image_size=8)
    load_dataset("pacs", pets, image_size=4)
    moved = pets.rename(pets.parent / "moved")
    load_dataset("pacs", moved, image_size=8)


def test_limits_have_fingerprints_of_their_own(pets: Path, tmp_path: Path) -> None:
    load_dataset("pacs", pets, image_size=8)
    load_dataset("pacs", pets, image_size=8, train_per_class=1, test_per_class=1)
    names = {path.name for path in (tmp_path / "cache" / "fingerprints").iterdir()}
    assert names == {"pacs-tree-all-all", "pacs-tree-1-1"}


def test_an_image_folder_may_change(pets: Path) -> None:
    load_dataset("image_folder", pets, path="pacs", image_size=8)
    swap(pets)
    load_dataset("image_folder", pets, path="pacs", image_size=8)


def test_a_benchmark_may_state_one(pets: Path) -> None:
    stated = table_fingerprint(load_dataset("pacs", pets, image_size=8))
    spec = DatasetSpec(name="image_folder", path="pacs", fingerprint=stated)
    with pytest.raises(UserError, match=r"'image_folder' has the fingerprint \w{32}, but the benchmark states 12"):
        load_table(DatasetSpec(name="image_folder", path="pacs", fingerprint="12"), 8, pets)
    load_table(spec, 8, pets)
    swap(pets)
    with pytest.raises(UserError, match=rf"but the benchmark states {stated}: this is another version of the data"):
        load_table(spec, 8, pets)


def test_what_is_remembered_stays(tmp_path: Path) -> None:
    check_remembered("x", "x-tree", "one", tmp_path)
    check_remembered("x", "x-tree", "one", tmp_path)
    for _ in range(2):
        with pytest.raises(UserError, match="x has the fingerprint two, but had one"):
            check_remembered("x", "x-tree", "two", tmp_path)
    check_remembered("y", "y-tree", "two", tmp_path)
