"""What is wrong with one record is told of that record: the others are published, and the board is made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published_records import edit, make_record, predictions, write_run

from clsuite.board.files import build, check
from clsuite.board.layout import LOCK, Leaderboard
from clsuite.board.publish import add_records
from clsuite.board.rerun import compare_rerun, write_rerun
from clsuite.board.validate.streams import Streams
from clsuite.cli.main import main
from clsuite.errors import UserError
from clsuite.records import RunRecord, read_record, rescore, write_predictions

Change = Callable[[Path], None]


@pytest.fixture(autouse=True)
def _streams_are_not_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Streams, "judge", lambda self, record, arrays: "")


def content(**changes: Any) -> Change:
    return lambda path: edit(path, lambda found: found.update(changes))


def config(**changes: Any) -> Change:
    return lambda path: edit(path, lambda found: found["config"].update(changes))


def arrays(**changes: Any) -> Change:
    def change(path: Path) -> None:
        made = predictions(0, 0.4)
        np.savez(path.with_suffix(".npz"), **{**made, **{name: make(made) for name, make in changes.items()}})

    return change


def reads(**changes: Any) -> Change:
    return content(probes=[{"name": "p", "higher_is_better": True, "values": [0.5] * 4, **changes}])


def nested(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels):
        found = {"a": found}
    return found


BAD: dict[str, tuple[Change, str]] = {
    "a huge count": (
        lambda path: edit(path, lambda found: found["counts"]["n"].__setitem__(0, 10**30)), "counts.n.0 is 10000",
    ),
    "no backbone": (config(backbone=None), "config.backbone is empty, but must be a mapping, such as {name: ...} ("),
    "a text for a backbone": (config(backbone="x"), "config.backbone is 'x', but must be a mapping, such as "),
    "a number for a name": (config(backbone={"name": 5, "image_size": 3}), "config.backbone.name is 5, but must be"),
    "no size": (config(backbone={"name": "vit", "image_size": [3]}), "config.backbone.image_size is [3], but must be"),
    "a text for data": (config(dataset="x"), "config.dataset is 'x', but must be a mapping"),
    "a text for a scenario": (config(scenario="x"), "config.scenario is 'x', but must be a mapping"),
    "a list for a limit": (config(limit_tasks=[1]), "config.limit_tasks is [1], but must be a whole number ("),
    "a text for training": (config(training="x"), "config.training is 'x', but must be a mapping"),
    "endless nesting": (content(environment=nested(400)), "is not valid: it is nested more than 100 levels deep"),
    "a text without end": (content(environment={"note": "x" * 2_000_000}), "bytes, but may take 2000000 at most"),
    "few right answers": (reads(correct=[1, 2], n=2), "'p' has 4 values, but 2 right answers"),
    "a huge reading": (reads(values=[1e300] * 4), "probes.p: a reading is above 1e+12"),
    "parts without end": (arrays(task=lambda made: made["task"].astype(np.int64) + 2**40), "'task' must hold the part"),
    "no parts": (arrays(task=lambda made: np.full(made["task"].shape, np.inf)), "'task' must hold the part"),
    "an array of its own": (
        arrays(more=lambda made: np.zeros(9)), "it holds 'more', which is not part of predictions: class_incremental, ",
    ),
    "arrays without end": (
        arrays(labels=lambda made: np.zeros(2**25, np.int8)), " bytes, but may take 33554432 at most",
    ),
    "a label for all": (arrays(labels=lambda made: made["labels"][:1]), "'labels' must hold a whole number for each"),
    "answers that are no numbers": (
        arrays(task_aware=lambda made: made["task_aware"].astype(float)), "'task_aware' must hold a whole number for",
    ),
    "an array and no archive": (
        lambda path: np.save(path.with_suffix(".npz").open("wb"), np.zeros(3)), "cannot read the predictions",
    ),
    "a name too long in bytes": (
        content(benchmark="漢" * 100), "its benchmark takes 300 bytes, but may take 120 at most",
    ),
    "a command to the terminal": (
        content(method="a\x1b[31mred\x07\0z"), "its method 'a\\x1b[31mred\\x07\\x00z' holds '\\x1b', which cannot be",
    ),
    "a name of two lines": (content(method="a\nadded: b"), "its method 'a\\nadded: b' holds '\\n', which cannot be"),
    "a name that reads backwards": (content(method="a\u202eb"), "holds '\\u202e', which cannot be printed"),
    "a name with a blank before it": (content(method=" good"), "its method ' good' begins or ends with a blank"),
    "a benchmark with a blank behind it": (content(benchmark="b "), "its benchmark 'b ' begins or ends with a blank"),
    "a task that beeps": (
        lambda path: edit(path, lambda found: found["scenario"].update(task_names=["a", "b", "\x07"])),
        "scenario.task_names: '\\x07' holds '\\x07', which cannot be printed",
    ),
    "a part that beeps": (
        lambda path: edit(path, lambda found: found["scenario"].update(part_names=["a", "b", "\x07"])),
        "scenario.part_names: '\\x07' holds '\\x07', which cannot be printed",
    ),
    "a probe that beeps": (reads(name="\x07"), "probes: '\\x07' holds '\\x07', which cannot be printed"),
    "training of nothing": (
        lambda path: edit(path, lambda found: found["cost"].update(trainable_parameters=0)),
        "it trained with 27 samples, but says that no parameter was trained: run it again",
    ),
    "tasks that train more than the run": (
        lambda path: edit(path, lambda found: found["tasks"][1].update(trainable_parameters=5)),
        "its cost names 3 trained parameters, but its tasks at most 5",
    ),
    "endless seconds": (content(seconds=1.5e308), "seconds is 1.5e+308, but must be at most 10000000000"),
    "a machine that beeps": (content(environment={"device": "\x07"}), "it holds the character '\\x07', which cannot"),
    "an unknown cost that beeps": (
        lambda path: edit(path, lambda found: found["cost"].update({"\x1b[31m": 1})), "cost.\\x1b[31m is not known",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_does_not_take_the_others_with_it(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, complaint = BAD[name]
    write_run(tmp_path / "runs", "good", 0, 0.9)
    change(write_run(tmp_path / "runs", "bad", 0, 0.4))
    write_run(tmp_path / "runs", "well", 0, 0.7)
    folder = ["--folder", str(tmp_path / "board")]
    assert main(["leaderboard", "add", str(tmp_path / "runs"), *folder, "--stale"]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[:2] == ["added: tiny/good/0", "added: tiny/well/0"]
    assert [complaint in line for line in said.err.splitlines() if line.startswith("refused: ")] == [True]
    assert all(one.isprintable() or one == "\n" for one in said.out + said.err)
    assert main(["leaderboard", "build", *folder]) == 0


def test_predictions_that_take_too_much_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clsuite.board.publish.LARGEST", 100)
    path = write_run(tmp_path / "runs", "a", 0)
    (outcome,) = add_records([path], Leaderboard(tmp_path / "board"), False, False, lambda record, arrays: "")
    assert (outcome.verdict, outcome.reason.endswith(" bytes, but may take 100 at most")) == ("refused", True)


def test_a_refused_record_begins_no_leaderboard(tmp_path: Path) -> None:
    path = write_run(tmp_path / "runs", "a", 0)
    content(environment=nested(400))(path)
    assert main(["leaderboard", "add", str(path), "--folder", str(tmp_path / "board")]) == 1
    assert not (tmp_path / "board").exists()


def test_predictions_are_found_where_the_record_names_no_file(tmp_path: Path) -> None:
    content(predictions=".")(write_run(tmp_path / "runs", "good", 0))
    outcomes = add_records(
        [tmp_path / "runs"], Leaderboard(tmp_path / "board"), False, False, lambda record, arrays: ""
    )
    assert [one.verdict for one in outcomes] == ["added"]


def test_a_stream_that_cannot_be_judged_is_a_reason_of_its_own(tmp_path: Path) -> None:
    def stream(record: RunRecord, arrays: Any) -> str:
        if record.method == "bad":
            raise MemoryError("8 TiB")
        return ""

    for method in ("bad", "good"):
        write_run(tmp_path / "runs", method, 0)
    outcomes = add_records([tmp_path / "runs"], Leaderboard(tmp_path / "board"), False, False, stream)
    told = [(one.verdict, one.name, one.reason) for one in outcomes]
    assert told == [
        ("refused", "tiny/bad/0", "it cannot be judged: MemoryError: 8 TiB"), ("added", "tiny/good/0", ""),
    ]  # fmt: skip


def test_what_cannot_be_written_is_told_and_the_others_are_published(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for method in ("a", "b", "c"):
        write_run(tmp_path / "runs", method, 0, 0.5 + 0.1 * ord(method) % 0.4)
    place = Leaderboard(tmp_path / "board")
    (place.records / "tiny").mkdir(parents=True)
    (place.records / "tiny" / "b").write_text("in the way")
    assert main(["leaderboard", "add", str(tmp_path / "runs"), "--folder", str(place.folder)]) == 1
    said = capsys.readouterr()
    assert "refused: tiny/b/0: it could not be written: cannot write into" in said.err
    assert "added: tiny/a/0\nadded: tiny/c/0\n2 added, 1 refused" in said.out
    assert sorted(json.loads(place.index.read_text())["rows"]) == ["tiny/a/0", "tiny/c/0"]


def test_a_record_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    path = write_run(tmp_path / "runs", "a", 0)
    place = Leaderboard(tmp_path / "board")
    in_the_way = place.records / "tiny" / "a" / f"{read_record(path).key}.npz"
    in_the_way.mkdir(parents=True)
    (outcome,) = add_records([path], place, False, False, lambda record, arrays: "")
    assert (outcome.verdict, outcome.reason.endswith(".npz': Is a directory")) == ("refused", True)
    assert [one for one in place.folder.rglob("*") if one.is_file() and one.name != LOCK] == []


@pytest.fixture
def place(tmp_path: Path) -> Leaderboard:
    """A leaderboard of one record."""
    write_run(tmp_path / "runs", "good", 0, 0.9)
    add_records([tmp_path / "runs"], Leaderboard(tmp_path / "board"), False, False, lambda record, arrays: "")
    build(Leaderboard(tmp_path / "board"))
    return Leaderboard(tmp_path / "board")


def test_the_same_run_with_other_counts_takes_the_place_of_the_published_one_only_on_request(
    place: Leaderboard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (published,) = (place.records / "tiny" / "good").glob("*.json")
    old = read_record(published)
    write_rerun(compare_rerun(old, old), published, old, "")
    other = tmp_path / "runs" / "tiny" / "good" / f"seed0-{old.key[:12]}.json"
    made = predictions(0, 0.9)
    made["class_incremental"][-1] = made["task_aware"][-1] = made["labels"]
    write_predictions(other.with_suffix(".npz"), made)
    content(counts=rescore(made).model_dump(mode="json"))(other)
    add = ["leaderboard", "add", str(other), "--folder", str(place.folder)]
    assert main(add) == 1
    assert f"the same run is published with other counts ({old.key[:12]}): give --replace" in capsys.readouterr().err
    assert read_record(published) == old
    assert main([*add, "--replace"]) == 0
    assert f"replaced: tiny/good/0: in place of {old.key[:12]}, as asked" in capsys.readouterr().out
    assert (read_record(published).counts, published.with_suffix(".rerun.json").exists()) == (rescore(made), False)
    assert main([*add, "--replace"]) == 0
    assert "known: tiny/good/0" in capsys.readouterr().out
    build(place)
    assert check(place) == []


@pytest.mark.parametrize("value", ["NaN", "1e400", None])
def test_the_account_of_a_rerun_that_cannot_be_read_is_named(place: Leaderboard, value: str | None) -> None:
    (published,) = (place.records / "tiny" / "good").glob("*.json")
    record, account = read_record(published), published.with_suffix(".rerun.json")
    write_rerun(compare_rerun(record, record), published, record, "")
    if value is None:
        account.unlink()
        account.mkdir()
    else:
        account.write_text(account.read_text().replace('matrix": 0.0', f'matrix": {value}'))
    with pytest.raises(UserError, match=r"^'tiny/good/\w+\.rerun\.json' (is not valid: .*finite|cannot be read: Is a)"):
        build(place)


@pytest.mark.parametrize("text", [b"method: \xe4", b"a: 2001-99-99", b"[" * 5000, None])
def test_reported_figures_that_cannot_be_read_are_named(place: Leaderboard, text: bytes | None) -> None:
    if text is None:
        place.reported.mkdir()
    else:
        place.reported.write_bytes(text)
    with pytest.raises(UserError, match=r"reported\.yaml(:\d+: not (YAML|UTF-8)|': Is a directory)[^\n]*$"):
        build(place)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"tiny": "ab"}'])
def test_an_index_that_cannot_be_read_is_named(place: Leaderboard, text: str) -> None:
    place.index.write_text(text)
    with pytest.raises(UserError, match=r"rows\.json' (cannot be read|does not hold)"):
        build(place)
    with pytest.raises(UserError, match=r"rows\.json' (cannot be read|does not hold)"):
        add_records([place.folder.parent / "runs"], place, False, False, lambda record, arrays: "")


def test_a_row_that_is_still_there_is_not_dropped(place: Leaderboard) -> None:
    key = make_record("good", 0, 0.9).key[:12]
    with pytest.raises(UserError, match=f"row 'tiny/good/0' in --drop is still there: take its record {key} away"):
        build(place, ["tiny/good/0"])


def test_what_lies_beside_a_record_is_no_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_run(tmp_path / "runs", "good", 0)
    path.with_suffix(".svg").write_text("<svg/>")
    beside = [str(path.with_suffix(suffix)) for suffix in (".json", ".npz", ".svg")]
    assert main(["leaderboard", "add", *beside, "--folder", str(tmp_path / "board")]) == 0
    said = capsys.readouterr()
    assert ("added: tiny/good/0\n1 added" in said.out, "refused" in said.err) == (True, False)
    path.unlink()
    assert main(["leaderboard", "add", *beside[1:2], "--folder", str(tmp_path / "board")]) == 1
    assert "is not complete JSON" in capsys.readouterr().err
