"""The index keeps what each published file held when it was taken in; nothing is forged in silence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from published_records import edit, predictions, write_run

from clsuite.board.files import build, check
from clsuite.board.index import index_bytes, read_index
from clsuite.board.layout import Leaderboard
from clsuite.board.publish import Outcome, add_records
from clsuite.board.rerun import compare_rerun, publish_rerun, write_rerun
from clsuite.cli.main import main
from clsuite.records import read_record, rescore, write_predictions

ROW = "tiny/good/0"


def add(runs: Path, place: Leaderboard, replace: bool = False) -> Outcome:
    (outcome,) = add_records([runs], place, replace, False, lambda record, arrays: "")
    return outcome


@pytest.fixture
def place(tmp_path: Path) -> Leaderboard:
    """A leaderboard of one record that was rerun."""
    add(write_run(tmp_path / "runs", "good", 0, 0.5), Leaderboard(tmp_path / "board"))
    place = Leaderboard(tmp_path / "board")
    published, record = published_of(place), read_record(published_of(place))
    publish_rerun(place, ROW, compare_rerun(record, record), published, record, "")
    build(place)
    return place


def published_of(place: Leaderboard) -> Path:
    return next(path for path in place.records.rglob("*.json") if not path.name.endswith(".rerun.json"))


def all_right(path: Path) -> None:
    """Predictions equal to the labels, and the counts that follow from them."""
    arrays = predictions(0, 0.5)
    arrays["class_incremental"][-1] = arrays["task_aware"][-1] = arrays["labels"]
    write_predictions(path.with_suffix(".npz"), arrays)
    edit(path, lambda content: content.update(counts=rescore(arrays).model_dump(mode="json")))
    path.with_suffix(".rerun.json").unlink()


def cheaper(path: Path) -> None:
    edit(path, lambda content: content["cost"].update(stored_bytes={"prototypes": 20}))


def packed_otherwise(path: Path) -> None:
    write_predictions(path.with_suffix(".npz"), predictions(0, 0.5))


def confirmed_by_hand(path: Path) -> None:
    edit(path.with_suffix(".rerun.json"), lambda content: content.update(machine="cpu: Z"))


FORGED: dict[str, tuple[Callable[[Path], None], str]] = {
    "results that follow from the predictions": (all_right, ".json: it was edited since it was added: restore it"),
    "a cost": (cheaper, ".json: it was edited since it was added: restore it"),
    "the predictions' bytes": (packed_otherwise, ".npz: it was edited since it was added: restore it"),
    "the account of a rerun": (confirmed_by_hand, ".rerun.json: it is not what rerun wrote: restore it"),
    "an account that is gone": (
        lambda path: path.with_suffix(".rerun.json").unlink(), ".rerun.json: it is gone: restore it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_file_is_refused_by_build_and_check(
    place: Leaderboard, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    forge, complaint = FORGED[name]
    forge(published_of(place))
    before = {path: path.read_bytes() for path in place.folder.rglob("*") if path.is_file()}
    assert main(["leaderboard", "build", "--folder", str(place.folder)]) == 2
    assert complaint in capsys.readouterr().err
    assert main(["leaderboard", "check", "--folder", str(place.folder)]) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if complaint in line]
    assert [line.startswith("records/tiny/good/") for line in told] == [True]
    assert {path: path.read_bytes() for path in place.folder.rglob("*") if path.is_file()} == before


def test_a_forged_record_is_mended_by_adding_the_run_again(place: Leaderboard, tmp_path: Path) -> None:
    published = published_of(place)
    good = published.read_bytes()
    cheaper(published)
    run = next((tmp_path / "runs").rglob("*.json"))
    refused = add(run, place)
    assert (refused.verdict, "is not to be trusted, it was edited since it was added" in refused.reason) == (
        "refused", True,
    )  # fmt: skip
    assert add(run, place, replace=True).verdict == "replaced"
    assert (published.read_bytes(), published.with_suffix(".rerun.json").exists()) == (good, False)
    build(place)
    assert check(place) == []


def test_the_files_of_others_stay_untrusted_when_a_row_is_added(place: Leaderboard, tmp_path: Path) -> None:
    cheaper(published_of(place))
    add(write_run(tmp_path / "more", "other", 0, 0.7), place)
    assert ["it was edited since it was added" in line for line in check(place)][:1] == [True]


def test_a_record_that_was_put_there_by_hand_is_taken_in_only_by_add(
    place: Leaderboard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(place.records, tmp_path / "bare" / "records")
    assert main(["leaderboard", "build", "--folder", str(tmp_path / "bare")]) == 2
    assert ".json: it was never added: take it away, or take it in: clsuite leaderboard add" in capsys.readouterr().err
    bare = Leaderboard(tmp_path / "bare")
    assert not bare.index.exists()
    taken = add(published_of(bare), bare)
    assert (taken.verdict, taken.reason.endswith(", which was never added")) == ("replaced", True)
    build(bare)
    assert check(bare) == []


def test_a_rerun_writes_its_digest_and_no_other(place: Leaderboard) -> None:
    published, before = published_of(place), read_index(place)[ROW]
    record = read_record(published)
    cheaper(published)
    publish_rerun(place, ROW, compare_rerun(record, record), published, record, "")
    after = read_index(place)[ROW]
    assert after.rerun is not None
    assert after.model_copy(update={"rerun": before.rerun}) == before


def test_an_account_that_rerun_did_not_write_is_not_kept_for_its_outcome(place: Leaderboard) -> None:
    published = published_of(place)
    record = read_record(published)
    other = record.model_copy(update={"counts": rescore(predictions(0, 0.2))})
    assert publish_rerun(place, ROW, compare_rerun(record, other), published, record, "apart") is not None
    assert check(place) == []
    confirmed_by_hand(published)
    assert publish_rerun(place, ROW, compare_rerun(record, other), published, record, "apart") is None
    assert json.loads(published.with_suffix(".rerun.json").read_text())["outcome"] == "different"


def test_an_account_beside_a_row_that_was_never_rerun_is_told(tmp_path: Path) -> None:
    place = Leaderboard(tmp_path / "board")
    add(write_run(tmp_path / "runs", "good", 0), place)
    record = read_record(published_of(place))
    write_rerun(compare_rerun(record, record), published_of(place), record, "")
    assert any(".rerun.json: it is not what rerun wrote" in line for line in check(place))


def test_a_dropped_row_leaves_the_index_with_its_digests(place: Leaderboard, tmp_path: Path) -> None:
    add(write_run(tmp_path / "more", "other", 0, 0.7), place)
    shutil.rmtree(published_of(place).parent)
    kept = {row: entry for row, entry in read_index(place).items() if row != ROW}
    build(place, [ROW])
    assert (read_index(place), len(kept)) == (kept, 1)
    assert check(place) == []


def test_an_index_without_digests_is_refused_with_the_mend(place: Leaderboard) -> None:
    old = {row: entry.key for row, entry in read_index(place).items()}
    place.index.write_text(json.dumps(old))
    (line,) = check(place)
    assert "rows.json' is of an earlier version, without digests: take the records in again: clsuite lead" in line
    assert add(published_of(place), place, replace=True).verdict == "replaced"
    build(place)
    assert check(place) == []


@pytest.mark.parametrize(
    "content",
    [
        {"version": 3, "rows": {}},
        {"version": 2},
        {"version": 2, "rows": {ROW: {"key": "../x"}}},
        {"version": 2, "rows": {ROW: {"key": "ab" * 32, "more": 1}}},
        {"version": 2, "rows": {"good": {"key": "ab" * 32}}},
        {"version": 2, "rows": {}, "tiny/a/0": {"key": "ab" * 32}},
    ],
)
def test_an_index_of_another_form_is_told(place: Leaderboard, content: Any) -> None:
    place.index.write_text(json.dumps(content))
    with pytest.raises(Exception, match="does not hold the key of each row: restore it"):
        check(place)


def test_the_index_is_the_same_in_any_order(place: Leaderboard, tmp_path: Path) -> None:
    add(write_run(tmp_path / "more", "other", 0, 0.7), place)
    rows = read_index(place)
    assert index_bytes(dict(reversed(rows.items()))) == index_bytes(rows) == place.index.read_bytes()
