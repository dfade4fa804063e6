"""Records on disk: whole or not at all, and foreign input until checked."""

from __future__ import annotations

import json
import os
import struct
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from clsuite.errors import UserError
from clsuite.records import (
    SCHEMA_VERSION,
    CostEntry,
    RecordError,
    RunRecord,
    atomic_path,
    read_predictions,
    read_record,
    write_predictions,
    write_record,
)


def test_round_trip(record: RunRecord, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "seed3.json"
    write_record(record, path)
    assert read_record(path) == record


def test_a_pending_record_goes_round_too(record: RunRecord, tmp_path: Path) -> None:
    pending = record.model_copy(update={"status": "failed", "counts": None, "cost": None, "error": "Traceback: …"})
    write_record(pending, tmp_path / "r.json")
    assert read_record(tmp_path / "r.json") == pending


def test_the_same_record_gives_the_same_bytes(record: RunRecord, tmp_path: Path) -> None:
    write_record(record, tmp_path / "a.json")
    write_record(read_record(tmp_path / "a.json"), tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_the_file_is_for_people_too(record: RunRecord, tmp_path: Path) -> None:
    write_record(record, tmp_path / "r.json")
    text = (tmp_path / "r.json").read_text(encoding="utf-8")
    assert "Käse" in text
    assert text.endswith("}\n")
    assert list(json.loads(text)) == sorted(json.loads(text))


def test_others_may_read_what_was_written(record: RunRecord, tmp_path: Path) -> None:
    write_record(record, tmp_path / "r.json")
    assert (tmp_path / "r.json").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o007, 0o660)])
def test_the_umask_says_who_may_read_it(record: RunRecord, tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_record(record, tmp_path / "r.json")
        write_predictions(tmp_path / "r.npz", {"labels": np.zeros(2, dtype=np.int64)})
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {mode}


@pytest.mark.parametrize("length", [120, 240, 250])
def test_a_name_that_the_file_system_takes_can_be_written(record: RunRecord, tmp_path: Path, length: int) -> None:
    for name in ("n" * length, "ü" * (length // 2)):
        write_record(record, tmp_path / f"{name}.json")
    assert len(os.listdir(tmp_path)) == 2


def test_a_name_that_it_does_not_take_is_one_line(record: RunRecord, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write '.*nnn.json': File name too long"):
        write_record(record, tmp_path / f"{'n' * 300}.json")
    assert os.listdir(tmp_path) == []


def fail_halfway(path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("killed")


def test_a_failure_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="killed"):
        fail_halfway(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["r.json"]


def test_a_failure_creates_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        fail_halfway(tmp_path / "r.json")
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_the_old_record(record: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.json"
    write_record(record, path)

    def full(self: Path, *_: Any, **__: Any) -> int:
        self.write_bytes(b'{"key"')
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UserError, match=r"cannot write '.*r\.json': No space left on device"):
        write_record(record.model_copy(update={"seed": 4}), path)
    assert read_record(path) == record
    assert os.listdir(tmp_path) == ["r.json"]


def test_nobody_sees_a_file_that_is_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
    assert path.read_text() == "new"


def test_a_folder_that_cannot_be_made_is_named(record: RunRecord, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write into .*file"):
        write_record(record, tmp_path / "file" / "r.json")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_cut_json(record: RunRecord, tmp_path: Path, share: float) -> None:
    path = tmp_path / "r.json"
    write_record(record, path)
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: int(share * (len(text) - 2))], encoding="utf-8")
    with pytest.raises(RecordError, match=r"r\.json' is not complete JSON"):
        read_record(path)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecordError, match="not complete JSON"):
        read_record(tmp_path / "r.json")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"cannot read the record .*none\.json.*No such file"):
        read_record(tmp_path / "none.json")


def edited(record: RunRecord, path: Path, **changes: Any) -> Path:
    path.write_text(json.dumps({**record.model_dump(mode="json"), **changes}))
    return path


def test_a_newer_schema_is_named_before_its_unknown_fields(record: RunRecord, tmp_path: Path) -> None:
    newer = SCHEMA_VERSION + 1
    path = edited(record, tmp_path / "r.json", schema_version=newer, invented="later")
    with pytest.raises(RecordError, match=f"schema {newer}.*reads up to {SCHEMA_VERSION}"):
        read_record(path)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"invented": 1}, "invented"),
        ({"status": "great"}, "status"),
        ({"seed": "three"}, "seed"),
        ({"counts": None}, "a finished run has counts and a cost"),
        ({"cost": None}, "a finished run has counts and a cost"),
        ({"counts": {"class_incremental": [[10**30]], "task_aware": [[0]], "n": [5]}}, "counts.class_incremental.0.0"),
        ({"seconds": -5}, "seconds is .*, but must be at least 0"),
        ({"seconds": 1.5e308}, "seconds is .*, but must be at most 10000000000"),
        ({"seed": 10**400}, "seed is .*, but must be less than"),
        ({"config": {"lr": float("nan")}}, "config: .*JSON"),
        ({"counts": {"class_incremental": [[0, 0]], "task_aware": [[0, 0]], "n": [5, 6]}}, "counts: .*shape"),
        (
            {"counts": {"class_incremental": [[9, 0]] * 3, "task_aware": [[0, 0]] * 3, "n": [5, 6]}},
            "counts: .*outside",
        ),
        (
            {"counts": {"class_incremental": [[0, 0]] * 3, "task_aware": [[0, 9]] * 3, "n": [5, 6]}},
            "counts: .*outside",
        ),
        ({"counts": {"class_incremental": [[0, 0], [1], [0, 0]], "task_aware": [[0, 0]] * 3, "n": [5, 6]}}, "counts"),
        ({"plugins": [{"name": "replay"}]}, r"plugins\.0\.args"),
        ({"scenario": {}}, r"scenario\.kind"),
    ],
)
def test_wrong_shapes_are_named(record: RunRecord, tmp_path: Path, changes: dict[str, Any], where: str) -> None:
    path = edited(record, tmp_path / "r.json", **changes)
    with pytest.raises(RecordError, match=rf"r\.json' is not valid: .*{where}"):
        read_record(path)


@pytest.mark.parametrize("name", ["stored_bytes", "trainable_parameters", "training_flops"])
def test_no_cost_is_too_large_to_reckon_with(record: RunRecord, tmp_path: Path, name: str) -> None:
    cost = record.model_dump(mode="json")["cost"]
    path = edited(
        record, tmp_path / "r.json", cost={**cost, name: {"x": 10**400} if name == "stored_bytes" else 10**400}
    )
    with pytest.raises(RecordError, match=rf"cost\.{name}.*must be less than"):
        read_record(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train_seconds", 1e300), ("eval_seconds", 1e11), ("train_seconds", float("inf")), ("steps", 2**53),
        ("gradient_samples", 10**300),
    ],
)  # fmt: skip
def test_no_task_takes_longer_than_can_be_shown(record: RunRecord, tmp_path: Path, name: str, value: Any) -> None:
    tasks = record.model_dump(mode="json")["tasks"]
    path = edited(record, tmp_path / "r.json", tasks=[{**tasks[0], name: value}, *tasks[1:]])
    with pytest.raises(RecordError, match=rf"r\.json' is not valid: tasks\.0\.{name} is .*, but must be"):
        read_record(path)


def test_what_large_models_take_on_many_cards_fits(record: RunRecord, tmp_path: Path) -> None:
    """A month of a thousand cards, of a model of a trillion parameters."""
    large = {
        "peak_memory_bytes": 10**15, "total_parameters": 10**12, "trainable_parameters": 10**12,
        "stored_bytes": {"exemplars": 10**15}, "forward_flops_per_image": 10**15, "training_flops": 10**25,
    }  # fmt: skip
    task = {**record.model_dump(mode="json")["tasks"][0], "gradient_samples": 10**13, "train_seconds": 3e6 * 1000}
    path = edited(record, tmp_path / "r.json", cost=large, tasks=[task], seconds=3e9)
    assert read_record(path).cost == CostEntry.model_validate(large)


def test_a_long_training_may_take_more_operations_than_64_bits_hold(record: RunRecord, tmp_path: Path) -> None:
    cost = record.model_dump(mode="json")["cost"]
    path = edited(record, tmp_path / "r.json", cost={**cost, "training_flops": 10**20})
    assert read_record(path).cost == CostEntry(**{**cost, "training_flops": 10**20})


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"n": None}, "'head' has right answers, but no total"),
        ({"n": 0}, "'head' has right answers, but no total"),
        ({"n": -2}, r"\.n is -2, but"),
        ({"n": 1}, "an accuracy of 'head' lies outside 0..1"),
        ({"values": [2.0, 0.5, 0.5]}, "an accuracy of 'head' lies outside 0..1"),
        ({"values": [float("nan"), 0.5, 0.5]}, "an accuracy of 'head' lies outside 0..1"),
        ({"correct": [2, 1]}, "'head' has 3 values, but 2 right answers"),
        ({"correct": [10**400, 1, 1]}, r"\.correct\.0 is 1"),
        ({"correct": [-1, 1, 1]}, r"\.correct\.0 is -1"),
    ],
)
def test_an_accuracy_of_a_probe_is_a_share_of_something(
    record: RunRecord, tmp_path: Path, changes: dict[str, Any], where: str
) -> None:
    probe = {"name": "head", "higher_is_better": True, "values": [1.0, 0.5, 0.5], "correct": [2, 1, 1], "n": 2}
    assert read_record(edited(record, tmp_path / "r.json", probes=[probe])).probes[0].n == 2
    path = edited(record, tmp_path / "r.json", probes=[{**probe, **changes}])
    with pytest.raises(RecordError, match=rf"probes\.0.*{where}"):
        read_record(path)


def test_a_name_that_something_else_has_is_told(tmp_path: Path) -> None:
    (tmp_path / "r.json").mkdir()
    with pytest.raises(UserError, match=r"cannot write '.*r\.json': Is a directory"), atomic_path(tmp_path / "r.json"):
        pass
    assert os.listdir(tmp_path) == ["r.json"]


@pytest.mark.parametrize("content", ["[]", "3", "null", '"text"', "{}"])
def test_json_that_is_no_record(tmp_path: Path, content: str) -> None:
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(RecordError, match="is not valid"):
        read_record(tmp_path / "r.json")


def test_a_record_cannot_be_changed_in_place(record: RunRecord) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        record.seed = 4  # type: ignore[misc]


PREDICTIONS = {
    "class_incremental": np.array([[-1, -1, 0], [1, 0, -1], [1, 0, 2]], dtype=np.int16),
    "labels": np.array([0, 1, 2]),
}


def test_predictions_go_round(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.npz", PREDICTIONS)
    read = read_predictions(tmp_path / "p.npz")
    assert set(read) == set(PREDICTIONS)
    for name, array in PREDICTIONS.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)
    assert os.listdir(tmp_path) == ["p.npz"]


def test_missing_predictions_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"predictions .*none\.npz"):
        read_predictions(tmp_path / "none.npz")


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
def test_cut_predictions_are_named(tmp_path: Path, share: float) -> None:
    path = tmp_path / "p.npz"
    write_predictions(path, PREDICTIONS)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(RecordError, match=r"predictions .*p\.npz"):
        read_predictions(path)


def test_damaged_predictions_are_named(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    write_predictions(path, PREDICTIONS)
    content = bytearray(path.read_bytes())
    content[80:100] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"predictions .*p\.npz"):
        read_predictions(path)


def test_predictions_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", labels=np.array([{"a": 1}], dtype=object))
    with pytest.raises(RecordError, match="predictions"):
        read_predictions(tmp_path / "p.npz")


@pytest.mark.parametrize(
    ("names", "told"),
    [(("zz",), "it holds 'zz', which is not part of"), (("labels", "labels"), "it holds 'labels' twice")],
)
def test_predictions_hold_what_is_known_and_each_once(tmp_path: Path, names: tuple[str, ...], told: str) -> None:
    path = tmp_path / "p.npz"
    write_predictions(path, {"task": np.zeros(3, np.int16)})
    with zipfile.ZipFile(path, "a") as archive:
        for name in names:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                archive.writestr(f"{name}.npy", b"x")
    with pytest.raises(RecordError, match=told):
        read_predictions(path)


def test_predictions_that_unpack_to_too_much_are_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    write_predictions(path, {"labels": np.zeros(1_000_000, np.int8)})
    assert len(read_predictions(path, 1_000_200)["labels"]) == 1_000_000
    with pytest.raises(RecordError, match="its arrays take 1000128 bytes, but may take 1000000 at most"):
        read_predictions(path, 1_000_000)


@pytest.mark.slow
def test_an_archive_that_lies_about_its_size_fills_no_memory(tmp_path: Path) -> None:
    path, size = tmp_path / "p.npz", 100_000_000
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("labels.npy", bytes(size))
    packed = path.read_bytes()
    assert packed.count(struct.pack("<I", size)) == 2
    path.write_bytes(packed.replace(struct.pack("<I", size), struct.pack("<I", 900)))
    tracemalloc.start()
    with pytest.raises(RecordError, match="predictions"):
        read_predictions(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size * 0.7


@pytest.mark.parametrize("kind", ["<i2", "|V0"])
def test_an_array_has_no_more_entries_than_it_holds(tmp_path: Path, kind: str) -> None:
    header = str({"descr": kind, "fortran_order": False, "shape": (10**11,)})
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n" + bytes(100)
    with zipfile.ZipFile(tmp_path / "p.npz", "w") as archive:
        archive.writestr("labels.npy", content)
    with pytest.raises(RecordError, match="predictions"):
        read_predictions(tmp_path / "p.npz")


def nested(levels: int) -> Any:
    found: Any = 1
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize("name", ["environment", "config"])
def test_a_record_that_is_nested_too_deeply_is_told(record: RunRecord, tmp_path: Path, name: str) -> None:
    assert read_record(edited(record, tmp_path / "r.json", environment={"a": nested(98)})).environment["a"]
    path = edited(record, tmp_path / "r.json", **{name: {"a": nested(99)}})
    with pytest.raises(RecordError, match=r"r\.json' is not valid: it is nested more than 100 levels deep"):
        read_record(path)


def test_content_is_on_the_disk_before_the_file_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append(os.readlink(f"/proc/self/fd/{handle}")), sync(handle)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("renamed"), replace(a, b)))
    with atomic_path(tmp_path / "x") as temporary:
        temporary.write_text("content")
        name = str(temporary)
    assert done == [name, "renamed", str(tmp_path)]
    assert (tmp_path / "x").read_text() == "content"


def test_half_a_character_is_refused(record: RunRecord, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_record(record, path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "method": "\U0001f98a"}))
    assert read_record(path).method == "\U0001f98a"
    path.write_text(json.dumps({**content, "method": "\ud83e"}))
    with pytest.raises(RecordError, match="is not complete JSON"):
        read_record(path)


@pytest.mark.parametrize("target", [".", "..", "/"])
def test_a_folder_is_no_file_to_write(target: str) -> None:
    with pytest.raises(UserError, match="it is a folder"), atomic_path(Path(target)):
        pytest.fail("a folder was taken for a file")
