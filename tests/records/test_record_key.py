"""The run key: every ingredient of the result changes it, and nothing else does."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from clsuite.records import RunRecord
from clsuite.records import record as record_module
from clsuite.records.canonical import canonical_json, sha256_of, sha256_of_file


def changed(record: RunRecord, path: str, value: Any) -> RunRecord:
    """The record with one value of its JSON changed; its key is left as it was."""
    content = record.model_dump(mode="json")
    *outer, last = path.split(".")
    inner = content
    for part in outer:
        inner = inner[int(part)] if part.isdigit() else inner[part]
    inner[last] = value
    return RunRecord.model_validate(content)


def test_a_record_as_written_has_its_own_key(record: RunRecord) -> None:
    assert record.key == record.recomputed_key()
    assert len(record.key) == 64


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", 4),
        ("config.dataset.name", "image_folder"),
        ("config.training.epochs", 2),
        ("config.training.optimizer.lr", 0.002),
        ("config.invented", True),
        ("plugins.0.name", "replay2"),
        ("plugins.0.args.capacity", 11),
        ("plugins.0.args.buffer", "herding"),
        ("plugins.0.source", "ba" * 32),
        ("plugins", []),
        ("scenario.fingerprint", "dc" * 32),
    ],
)
def test_every_ingredient_changes_the_key(record: RunRecord, path: str, value: Any) -> None:
    assert changed(record, path, value).recomputed_key() != record.key


def test_the_order_of_plugins_changes_the_key(record: RunRecord) -> None:
    one = record.plugins[0]
    two = one.model_copy(update={"name": "lwf"})
    keys = {record.model_copy(update={"plugins": order}).recomputed_key() for order in ([one, two], [two, one])}
    assert len(keys) == 2


def test_the_version_of_the_results_changes_the_key(record: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_module, "RESULTS_VERSION", record_module.RESULTS_VERSION + 1)
    assert record.recomputed_key() != record.key


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("plugins.0.distribution", "clsuite 9.9.9"),
        ("environment.torch", "3.0"),
        ("environment", {}),
        ("benchmark", "other"),
        ("method", "my name for it"),
        ("seconds", 99.0),
        ("predictions", None),
        ("tasks", []),
        ("cost.training_flops", 7),
        ("scenario.task_names", ["x", "y"]),
    ],
)
def test_what_does_not_decide_the_result_leaves_the_key(record: RunRecord, path: str, value: Any) -> None:
    assert changed(record, path, value) != record
    assert changed(record, path, value).recomputed_key() == record.key


def test_the_order_of_names_leaves_the_key(record: RunRecord) -> None:
    turned = dict(reversed(record.config.items()))
    assert list(turned) != list(record.config)
    assert record.model_copy(update={"config": turned}).recomputed_key() == record.key


def test_canonical_json_by_hand() -> None:
    assert (
        canonical_json({"b": [1, 0.5, None], "a": {"é": "ß", "d": True}}) == '{"a":{"d":true,"é":"ß"},"b":[1,0.5,null]}'
    )
    assert sha256_of({"b": 1, "a": 2}) == hashlib.sha256(b'{"a":2,"b":1}').hexdigest()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_canonical_json_refuses_what_json_cannot_carry(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": [number]})


def test_the_hash_of_a_file(tmp_path: Any) -> None:
    (tmp_path / "f").write_bytes(b"content")
    assert sha256_of_file(tmp_path / "f") == hashlib.sha256(b"content").hexdigest()


def test_reading_back_from_json_leaves_the_key(record: RunRecord) -> None:
    """Floats survive JSON to the bit, and so does the key."""
    awkward = changed(record, "config.training.optimizer.lr", 0.1 + 0.2)
    again = RunRecord.model_validate(json.loads(json.dumps(awkward.model_dump(mode="json"))))
    assert again.recomputed_key() == awkward.recomputed_key()
