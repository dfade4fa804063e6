"""Trained models from disk: damaged ones are refused, and so are images that they were not trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import clsuite
from clsuite.cli.main import main
from clsuite.data.datasets import load_table
from clsuite.data.spec import DatasetSpec
from clsuite.errors import UserError
from clsuite.runner.given_images import checked_images
from clsuite.runner.model_file import TrainedModel
from clsuite.stream.sealed_state import write_state

BENCHMARK = {
    "name": "one",
    "dataset": {"name": "digits", "train_per_class": 10, "test_per_class": 5},
    "scenario": {"tasks": 2},
    "training": {"epochs": 1},
    "seeds": [0],
    "methods": {"ncm": "ncm"},
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of a run whose model lies beside it."""
    folder = tmp_path_factory.mktemp("saved")
    (folder / "one.yaml").write_text(yaml.safe_dump(BENCHMARK))
    assert main(["bench", str(folder / "one.yaml"), "--out", str(folder / "o"), "--save-model"]) == 0
    return next((folder / "o/one/ncm").glob("*.json"))


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    for ending in (".json", ".pt"):
        (tmp_path / f"r{ending}").write_bytes(saved.with_suffix(ending).read_bytes())
    return tmp_path / "r.json"


@pytest.fixture(scope="module")
def model(saved: Path) -> TrainedModel:
    return clsuite.load_model(saved)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.array(load_table(DatasetSpec(name="digits"), 32).images[:6])


def test_the_record_has_the_hash_of_the_table(saved: Path) -> None:
    from clsuite.data.seal import table_sha256

    table = load_table(DatasetSpec(name="digits", train_per_class=10, test_per_class=5), 32)
    record = json.loads(saved.read_text())
    assert record["environment"]["table_sha256"] == table_sha256(table)
    assert "pillow" in record["environment"]["packages"]


def test_zeros_and_bits_in_a_model_are_noticed(copy: Path, images: np.ndarray) -> None:
    path = copy.with_suffix(".pt")
    content = path.read_bytes()
    expected = clsuite.load_model(copy).logits(images)
    refused = 0
    for place in np.linspace(0.1, 0.9, 5):
        start = int(place * len(content))
        path.write_bytes(content[:start] + bytes(4096) + content[start + 4096 :])
        try:
            torch.testing.assert_close(clsuite.load_model(copy).logits(images), expected, rtol=0, atol=0)
        except UserError:
            refused += 1
    assert refused >= 4


@pytest.mark.parametrize("entry", ["key", "classes", "task_classes", "image_shape", "domains", "learner", "sha256"])
def test_a_missing_entry_is_one_line(copy: Path, entry: str) -> None:
    path = copy.with_suffix(".pt")
    state = torch.load(path, weights_only=True)
    del state[entry]
    torch.save(state, path)
    with pytest.raises(UserError, match=r"^cannot read the model '.*r\.pt': [^\n]*$"):
        clsuite.load_model(copy)


def test_a_list_is_no_model(copy: Path) -> None:
    torch.save([1, 2], copy.with_suffix(".pt"))
    with pytest.raises(UserError, match=r"cannot read the model '.*r\.pt'"):
        clsuite.load_model(copy)


def sealed(copy: Path, change: Any) -> None:
    """Another state, sealed as if it had been written so."""
    state = torch.load(copy.with_suffix(".pt"), weights_only=True)
    del state["sha256"]
    change(state)
    write_state(state, copy.with_suffix(".pt"))


@pytest.mark.parametrize("entry", ["task_classes", "image_shape", "domains", "learner"])
def test_states_that_do_not_fit_are_one_line(copy: Path, entry: str) -> None:
    sealed(copy, lambda state: state.update({entry: None}))
    with pytest.raises(UserError, match=rf"^cannot read the model '.*r\.pt': {entry} [^\n]*$"):
        clsuite.load_model(copy)


def test_values_of_another_shape_are_told_in_our_words(copy: Path) -> None:
    def spoil(state: dict[str, Any]) -> None:
        name = next(iter(state["learner"]["parameters"]))
        state["learner"]["parameters"][name] = torch.zeros(3)

    sealed(copy, spoil)
    with pytest.raises(UserError, match=r": its values are not those of the network that the record's configuration"):
        clsuite.load_model(copy)


@pytest.mark.parametrize("part", ["backbone.", "head."])
def test_weights_that_are_nan_are_refused(copy: Path, part: str) -> None:
    def spoil(state: dict[str, Any]) -> None:
        for name, value in state["learner"]["parameters"].items():
            if name.startswith(part):
                value.mul_(float("nan"))

    sealed(copy, spoil)
    told = rf"the model '.*r\.pt' holds NaN or infinite values, in '{part}.*' and \d+ more"
    with pytest.raises(UserError, match=told):
        clsuite.load_model(copy)


def test_an_answer_that_is_nan_is_none(copy: Path, images: np.ndarray) -> None:
    def spoil(state: dict[str, Any]) -> None:
        state["learner"]["plugins"][0]["_sums"].mul_(float("nan"))

    sealed(copy, spoil)
    with pytest.raises(UserError, match=r"the model predicts NaN or infinite values: "):
        clsuite.load_model(copy).predict(images)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record["scenario"]["classes"].reverse(), "belongs to another run"),
        (lambda record: record["config"]["training"].update(epochs=9), "was edited: its key does not follow"),
        (lambda record: record["config"].pop("backbone"), "was edited"),
        (lambda record: record.update(status="failed"), "is failed, so it has no model"),
    ],
)
def test_an_edited_record_is_refused(copy: Path, change: Any, message: str) -> None:
    record = json.loads(copy.read_text())
    change(record)
    copy.write_text(json.dumps(record))
    with pytest.raises(UserError, match=message):
        clsuite.load_model(copy)


# -- images --


def test_arrays_and_tensors_give_the_same(model: TrainedModel, images: np.ndarray) -> None:
    expected = model.predict(images)
    np.testing.assert_array_equal(model.predict(torch.from_numpy(images)), expected)
    np.testing.assert_array_equal(model.predict(images.repeat(3, axis=1)), expected)
    np.testing.assert_array_equal(model.predict(images[::-1])[::-1], expected)
    assert model.predict(images[:0]).shape == (0,)
    assert model.logits(images[:0]).shape == (0, 10)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16])
def test_floats_are_refused_with_the_mend(model: TrainedModel, images: np.ndarray, kind: type[np.generic]) -> None:
    message = r"in 0\.\.1, but must be uint8 in 0\.\.255, not normalized: give \(255 \* images\)\.round"
    with pytest.raises(UserError, match=message):
        model.predict((images / 255).astype(kind))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="values of type float32"):
        model.predict(torch.from_numpy(images) / 255)


@pytest.mark.parametrize("kind", [np.int64, np.uint16, np.float32, np.bool_])
def test_other_types_are_refused(model: TrainedModel, images: np.ndarray, kind: type[np.generic]) -> None:
    with pytest.raises(UserError, match=f"the images have values of type {np.dtype(kind)}"):
        model.logits(images.astype(kind))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 32, 32), r"must be \[N, 1, 32, 32\]: a single one is given as images\[None\]"),
        ((3, 32, 32), r"a single one is given as images\[None\]"),
        ((7, 32, 32), r"those of one channel are given as images\[:, None\]"),
        ((32, 32), "the images have the shape"),
        ((32, 32, 3), r"channels come before height and width, images\.transpose\(2, 0, 1\)\[None\]"),
        ((5, 32, 32, 3), r"channels come before height and width, images\.transpose\(0, 3, 1, 2\)"),
        ((5, 32, 32, 1), "channels come before height and width"),
        ((5, 1, 64, 64), "resize them to the 32 px that the model was trained at"),
        ((5, 4, 32, 32), "the images have the shape"),
        ((), "the images have the shape"),
        ((5, 1, 1, 32, 32), "the images have the shape"),
    ],
)
def test_other_shapes_are_refused_with_the_mend(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        checked_images(np.zeros(shape, np.uint8), (1, 32, 32))
