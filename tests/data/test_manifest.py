"""Manifests: limits, fixed splits, and what cannot be."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsuite.data import ImageTable, load_dataset
from clsuite.data.catalog import DATASETS
from clsuite.data.datasets import load_table, select_indices
from clsuite.data.manifest import Files, Manifest, Sample, list_pixels, list_samples, with_split
from clsuite.data.spec import DatasetSpec
from clsuite.errors import UserError
from clsuite.scenarios import ScenarioSpec, build_scenario


def make(number: int, classes: int = 3, domains: int = 2) -> Manifest:
    random = np.random.RandomState(number)
    samples = [
        Sample(f"{i}.png", f"c{random.randint(classes)}", bool(random.randint(2)), f"d{random.randint(domains)}")
        for i in range(number)
    ]
    return list_samples(Path("root"), samples)


def groups(manifest: Manifest) -> Counter[tuple[int, int, bool]]:
    return Counter(zip(manifest.labels.tolist(), manifest.domains.tolist(), manifest.is_test.tolist(), strict=True))


@pytest.mark.slow
@given(st.integers(1, 60), st.none() | st.integers(1, 9), st.none() | st.integers(1, 9))
def test_at_most_so_many_of_each_class_domain_and_part(number: int, train: int | None, test: int | None) -> None:
    manifest = make(number)
    limited = manifest.limited(train, test)
    bounds = {False: train, True: test}
    assert groups(limited) == Counter(
        {
            key: count if bounds[key[2]] is None else min(count, bounds[key[2]])
            for key, count in groups(manifest).items()
        }
    )
    assert isinstance(manifest.source, Files)
    assert isinstance(limited.source, Files)
    row_of = {name: row for row, name in enumerate(manifest.source.names)}
    rows = [row_of[name] for name in limited.source.names]
    assert rows == sorted(rows)
    np.testing.assert_array_equal(limited.labels, manifest.labels[rows])
    np.testing.assert_array_equal(limited.is_test, manifest.is_test[rows])
    assert limited.classes == manifest.classes


def test_a_limit_of_one_part_leaves_the_other_alone() -> None:
    manifest = make(80)
    limited = manifest.limited(None, 1)
    assert (~limited.is_test).sum() == (~manifest.is_test).sum()


def test_limits_choose_the_rows_that_scenarios_choose() -> None:
    """The bound may be put on the data set or on the scenario: it is the same stream."""
    whole = load_table(DatasetSpec(name="digits"), 8)
    limited = load_table(DatasetSpec(name="digits", train_per_class=7), 8)
    rows = select_indices(whole, 7)
    np.testing.assert_array_equal(whole.digests[rows], limited.digests[~limited.is_test])
    np.testing.assert_array_equal(select_indices(limited, 7), np.flatnonzero(~limited.is_test))
    spec = ScenarioSpec(tasks=5)
    streams = [build_scenario(table, spec, 0, 7) for table in (whole, limited)]
    assert streams[0].fingerprint == streams[1].fingerprint


def test_test_per_class_bounds_the_test_part_of_a_stream() -> None:
    table = load_table(DatasetSpec(name="digits", train_per_class=9, test_per_class=4), 8)
    scenario = build_scenario(table, ScenarioSpec(tasks=5), 0, 9)
    assert [len(task.test) for task in scenario.tasks] == [8] * 5
    assert [len(task.train) + len(task.validation) for task in scenario.tasks] == [18] * 5


@pytest.mark.parametrize("key", ["train_per_class", "test_per_class"])
def test_a_limit_of_nothing_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=key):
        DatasetSpec.model_validate({"name": "digits", key: 0})


def test_download_is_no_part_of_the_configuration() -> None:
    assert "download" not in DatasetSpec(name="mnist", download=True).model_dump()


def unsplit(numbers: dict[str, int]) -> list[Sample]:
    return [Sample(f"{label}/{i:03d}.png", label, False) for label, number in numbers.items() for i in range(number)]


def test_the_fixed_split_is_stratified_and_follows_from_the_paths_alone() -> None:
    samples = unsplit({"a": 10, "b": 100, "c": 2, "d": 3})
    split = with_split(samples, 0.2, "x")
    tested = Counter(sample.label for sample in split if sample.is_test)
    assert tested == {"a": 2, "b": 20, "c": 1, "d": 1}
    assert with_split(samples[::-1], 0.2, "x") == split
    assert with_split(samples, 0.2, "y") != split
    assert sorted(sample.path for sample in split) == sorted(sample.path for sample in samples)


def test_a_class_alone_does_not_change_the_split_of_another() -> None:
    alone = {sample for sample in with_split(unsplit({"a": 30}), 0.2, "x")}
    assert alone <= set(with_split(unsplit({"a": 30, "b": 7}), 0.2, "x"))


def test_a_single_image_cannot_be_split() -> None:
    with pytest.raises(UserError, match=r"class 'b' has a single image \('b/000\.png'\)"):
        with_split(unsplit({"a": 3, "b": 1}), 0.2, "x")


def test_equal_pixels_are_no_equal_samples() -> None:
    part = np.zeros((3, 2, 2), dtype=np.uint8), np.zeros(3, dtype=np.int64)
    manifest = list_pixels(part, part, ["a"])
    assert len(np.unique(manifest.source.digests, axis=0)) == 6  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("labels", "message"),
    [([0, 1], "test part has 3 images, but 2 labels"), ([0, 1, 2], "labels 0 to 2 for 2 classes"),
     ([-1, 0, 1], "labels -1 to 1 for 2 classes")],
)  # fmt: skip
def test_labels_that_cannot_be(labels: list[int], message: str) -> None:
    images = np.zeros((3, 2, 2), dtype=np.uint8)
    with pytest.raises(UserError, match=message):
        list_pixels((images, np.array([0, 1, 1])), (images, np.array(labels)), ["a", "b"])


# -- the registry, and real data --


@pytest.mark.parametrize("name", DATASETS)
def test_the_facts_are_complete(name: str) -> None:
    dataset = DATASETS[name]
    assert dataset.summary
    assert dataset.native
    assert dataset.license
    assert dataset.normalization.startswith("the backbone's")
    if name not in ("digits", "image_folder"):
        assert dataset.place
        assert dataset.url.startswith("http")
        assert dataset.homes
        assert dataset.read is not None or dataset.tree
    both = dataset.train is not None and dataset.test is not None
    unpublished = ("cddb", "cddb_hard", "image_folder", "aircraft_100", "cars_100", "food_100", "sun_300", "ucf_100")
    assert both or dataset.total is not None or name in unpublished


@pytest.mark.slow
def test_real_cifar100(real_data: Path) -> None:
    table = load_dataset("cifar100", real_data, image_size=32, train_per_class=40, test_per_class=8)
    assert np.bincount(table.labels[~table.is_test]).tolist() == [40] * 100
    assert np.bincount(table.labels[table.is_test]).tolist() == [8] * 100
    assert table.classes[:3] == ("apple", "aquarium fish", "baby")
    statistics = DATASETS["cifar100"].statistics
    assert statistics is not None
    pixels = table.images[~table.is_test] / 255
    np.testing.assert_allclose(pixels.mean(axis=(0, 2, 3)), statistics.mean, atol=0.01)
    np.testing.assert_allclose(pixels.std(axis=(0, 2, 3)), statistics.std, atol=0.01)


@pytest.mark.slow
def test_real_pacs(real_data: Path) -> None:
    table = load_dataset("pacs", real_data, image_size=16)
    assert table.domain_names == ("art_painting", "cartoon", "photo", "sketch")
    assert len(table) == DATASETS["pacs"].total
    assert isinstance(table, ImageTable)
