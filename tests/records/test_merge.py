"""Folders of runs of several machines, joined: nothing that is finished is overwritten, and what differs is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from clsuite.cli.main import main
from clsuite.records import read_record, write_record
from clsuite.records.merge import merge_runs
from clsuite.records.rescoring import rescore
from clsuite.records.store import read_arrays, write_predictions
from clsuite.runner.execute import execute
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import make_plan
from clsuite.runner.spec import load_benchmark


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two finished runs."""
    folder = tmp_path_factory.mktemp("done")
    (folder / "tiny.yaml").write_text(
        "{name: tiny, dataset: {name: digits, train_per_class: 5, test_per_class: 3}, scenario: {tasks: 5}, "
        "limit_tasks: 2, training: {epochs: 1}, seeds: [0, 1], methods: {ncm: ncm}}"
    )
    spec, path = load_benchmark(str(folder / "tiny.yaml"))
    for plan in make_plan(spec, path.parent, RunOptions(out=folder / "runs", device="cpu", keep_states=True)):
        assert execute(plan, lambda event: None).status == "done"
    return folder / "runs"


@pytest.fixture
def halves(done: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two folders with one of the runs each, the second one's unfinished in the first."""
    first, second = (shutil.copytree(done, tmp_path / name) for name in ("first", "second"))
    record = next(first.rglob("seed1-*.json"))
    write_record(read_record(record).model_copy(update={"status": "failed", "error": "no"}), record)
    record.with_suffix(".npz").unlink()
    for path in list(second.rglob("seed0-*")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return first, second


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_halves_become_the_whole(
    halves: tuple[Path, Path], done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = halves
    untouched = files(second)
    assert main(["merge", str(first), str(second)]) == 0
    assert capsys.readouterr().out == f"1 run added to {first}, 0 there already with equal counts\n"
    assert files(first) == files(done)
    assert files(second) == untouched
    assert main(["merge", str(tmp_path / "new" / "all"), str(first), str(second)]) == 0
    assert "2 runs added" in (told := capsys.readouterr().out)
    assert "1 there already" in told
    assert files(tmp_path / "new" / "all") == files(done)


def test_other_counts_under_one_key_are_told_and_left(halves: tuple[Path, Path], done: Path) -> None:
    """The same run, with one prediction another one, as on a machine of another kind."""
    _, second = halves
    path = next(second.rglob("seed1-*.npz"))
    names = ("class_incremental", "task_aware", "labels", "task", "learned", "curve_names", "curve_of", "curve_task",
             "curve_step", "curve_value")  # fmt: skip
    arrays = {name: array.copy() for name, array in read_arrays(path, names).items()}
    right = arrays["class_incremental"][-1] == arrays["labels"]
    arrays["class_incremental"][-1, right.argmax()] += 1
    write_predictions(path, arrays)
    record = read_record(path.with_suffix(".json"))
    assert record.counts is not None
    counts = rescore({name: arrays[name] for name in names[:5] if name in arrays})
    write_record(record.model_copy(update={"counts": counts}), path.with_suffix(".json"))
    target = shutil.copytree(done, second.with_name("target"))
    merged = merge_runs(target, [second])
    assert merged.added == []
    assert len(merged.other) == 1
    assert "tiny, ncm, seed 1: other counts in" in merged.other[0]
    assert files(target) == files(done)


def test_what_was_edited_is_not_taken(halves: tuple[Path, Path]) -> None:
    first, second = halves
    path = next(second.rglob("seed1-*.json"))
    content = json.loads(path.read_text())
    content["counts"]["class_incremental"][-1][-1] += 1
    path.write_text(json.dumps(content))
    before = files(first)
    assert "was edited" in merge_runs(first, [second]).other[0]
    path.write_text("{")
    assert "JSON" in merge_runs(first, [second]).other[0]
    assert files(first) == before


def test_what_cannot_be_read_at_the_target_is_left_and_told(halves: tuple[Path, Path]) -> None:
    first, second = halves
    next(first.rglob("seed1-*.json")).write_text("{")
    merged = merge_runs(first, [second])
    assert merged.added == []
    assert "JSON" in merged.other[0]


def test_unfinished_runs_of_a_source_are_left(halves: tuple[Path, Path], tmp_path: Path) -> None:
    first, _ = halves
    merged = merge_runs(tmp_path / "all", [first])
    assert [path.name[:5] for path in merged.added] == ["seed0"]


@pytest.mark.parametrize("source", ["absent", ".", "first/tiny"])
def test_what_are_not_two_folders_is_refused(
    halves: tuple[Path, Path], source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _ = halves
    assert main(["merge", str(first), str(first.parent / source)]) == 2
    told = capsys.readouterr().err
    assert "is not a folder of runs" in told or "one is in the other" in told
