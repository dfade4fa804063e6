"""Records are taken in after checks, and nothing is wrong, doubled, stale or gone in silence."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published_records import ENVIRONMENT, edit, make_record, predictions, registered, write_run

from clsuite.board import status
from clsuite.board.build import PETS, build_board
from clsuite.board.files import build, check
from clsuite.board.layout import Leaderboard
from clsuite.board.publish import Outcome, add_records
from clsuite.board.rerun import compare_rerun, write_rerun
from clsuite.board.site.pareto import pareto_plots
from clsuite.board.site.text import half_text
from clsuite.board.status import benchmark_notes
from clsuite.cli.main import main
from clsuite.errors import UserError
from clsuite.metrics import COLUMNS
from clsuite.peft import PET_KINDS
from clsuite.records import RunRecord, read_predictions, read_record, rescore, write_predictions
from clsuite.records.entries import ProbeEntry, TrialEntry, TuningEntry
from clsuite.records.record import RESULTS_VERSION
from clsuite.report.format import rounded
from clsuite.runner.record_config import stream_config
from clsuite.runner.spec import load_benchmark
from clsuite.scenarios import ScenarioSpec


def add(runs: Path, board: Path, replace: bool = False, stale: bool = False) -> list[Outcome]:
    return add_records([runs], Leaderboard(board), replace, stale, lambda record, arrays: "")


def test_the_board_knows_every_kind_of_module() -> None:
    assert frozenset(PET_KINDS) == PETS


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs of two methods and two seeds, and the leaderboard that publishes them."""
    folder = tmp_path_factory.mktemp("published")
    for method, right in (("good", 0.9), ("poor", 0.4)):
        for seed in (0, 1):
            write_run(folder / "runs", method, seed, right)
    assert {one.verdict for one in add(folder / "runs", folder / "board")} == {"added"}
    build(Leaderboard(folder / "board"))
    return folder


@pytest.fixture
def board(published: Path, tmp_path: Path) -> Path:
    """A copy of the published leaderboard, with its runs beside it."""
    shutil.copytree(published, tmp_path, dirs_exist_ok=True)
    return tmp_path / "board"


def one_of(board: Path, method: str) -> Path:
    return sorted((board / "records" / "tiny" / method).glob("*.json"))[0]


def test_what_is_published_is_whole_and_checks(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = read_record(one_of(board, "good"))
    path = one_of(board, "good").with_name(str(record.predictions))
    there, made = read_predictions(path), predictions(record.seed, 0.9)
    assert all((there[name] == made[name]).all() and there[name].dtype == made[name].dtype for name in made)
    assert main(["leaderboard", "check", "--folder", str(board)]) == 0
    assert sorted(json.loads((board / "rows.json").read_text())["rows"]) == [
        f"tiny/{method}/{seed}" for method in ("good", "poor") for seed in (0, 1)
    ]
    readme = (board / "README.md").read_text()
    assert readme.index("[good]") < readme.index("[poor]")
    assert "| tiny | 4 | cpu: X | 32-true | 0.01 |" in readme
    assert "no row is lost" in capsys.readouterr().out


@pytest.mark.slow
def test_the_same_records_give_the_same_bytes_without_torch_elsewhere(board: Path, tmp_path: Path) -> None:
    shutil.copytree(board / "records", tmp_path / "other" / "records")
    shutil.copy(board / "rows.json", tmp_path / "other")
    code = (
        "import sys; from clsuite.cli.main import main\n"
        "assert main(['leaderboard', 'build', '--folder', sys.argv[1]]) == 0\n"
        "assert main(['leaderboard', 'check', '--folder', sys.argv[1]]) == 0\n"
        "assert not {'torch', 'avalanche', 'lightning', 'matplotlib'} & {*sys.modules}"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "LC_ALL": "C", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "other")], check=True, env=environment)
    files, others = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (board, tmp_path / "other")
    )
    assert files == others
    assert all(content.endswith(b"\n") for path, content in files.items() if path.suffix not in (".npz", ""))


def test_adding_again_changes_nothing_and_another_run_only_on_request(board: Path, tmp_path: Path) -> None:
    before = one_of(board, "good").read_bytes()
    assert {one.verdict for one in add(tmp_path / "runs", board)} == {"known"}
    assert one_of(board, "good").read_bytes() == before
    config = make_record("good", 0).config
    for seed in (0, 1):
        write_run(tmp_path / "new", "good", seed, 0.8, config={**config, "training": {"epochs": 2}})
    refused = add(tmp_path / "new", board)
    assert [one.verdict for one in refused] == ["refused", "refused"]
    assert "--replace" in refused[0].reason
    one_seed = add(next((tmp_path / "new").rglob("seed0*.json")), board, replace=True)
    assert "its training differs from that of" in one_seed[0].reason
    replaced = add(tmp_path / "new", board, replace=True)
    assert [one.verdict for one in replaced] == ["replaced", "replaced"]
    build(Leaderboard(board))
    assert check(Leaderboard(board)) == []
    keys = [read_record(path).key for path in (board / "records" / "tiny" / "good").glob("*.json")]
    assert len(keys) == 2
    assert make_record("good", 0).key not in keys


def test_a_repeated_run_with_the_same_counts_takes_its_place_on_request_alone(board: Path, tmp_path: Path) -> None:
    path = write_run(tmp_path / "again", "good", 0, 0.9, seconds=3.5)
    assert [one.verdict for one in add(path, board)] == ["known"]
    assert [one.verdict for one in add(path, board, replace=True)] == ["replaced"]
    assert [one.verdict for one in add(path, board, replace=True)] == ["known"]
    build(Leaderboard(board))
    assert check(Leaderboard(board)) == []
    kept = [read_record(one) for one in (board / "records" / "tiny" / "good").glob("*.json")]
    assert sorted((one.seed, one.seconds) for one in kept) == [(0, 3.5), (1, 7.2)]


def test_a_stale_record_gives_way_and_is_itself_refused(board: Path, tmp_path: Path) -> None:
    old = make_record("old", 0).plugins[0].model_copy(update={"source": "ab" * 32})
    path = write_run(tmp_path / "old", "old", 0, plugins=[old])
    refused = add(path, board)[0]
    assert refused.verdict == "refused"
    assert "the source of plugin 'ncm' changed since" in refused.reason
    assert add(path, board, stale=True)[0].verdict == "added"
    build(Leaderboard(board))
    assert "| stale |" in (board / "README.md").read_text()
    taken = add(write_run(tmp_path / "new", "old", 0), board)[0]
    assert (taken.verdict, "which is stale: the source of plugin 'ncm' changed since" in taken.reason) == (
        "replaced", True,
    )  # fmt: skip


def test_a_record_of_earlier_results_of_clsuite_is_stale_and_not_broken(board: Path, tmp_path: Path) -> None:
    record = make_record("old", 0, 0.55)
    content = (record.config, record.plugins, record.seed, record.scenario.fingerprint)
    path = write_run(tmp_path / "old", "old", 0, 0.55)
    edit(path, lambda found: found.update(key=RunRecord.make_key(*content, results=RESULTS_VERSION - 1)))
    refused = add(path, board)[0]
    assert (refused.verdict, "clsuite itself gives other results since" in refused.reason) == ("refused", True)
    assert add(path, board, stale=True)[0].verdict == "added"
    build(Leaderboard(board))
    assert check(Leaderboard(board)) == []
    assert "| stale |" in (board / "README.md").read_text()


def unknown_plugin(content: dict[str, Any]) -> None:
    content["plugins"][0]["name"] = "nobody_has_this"


def rekeyed(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """An edit by somebody who takes care that the key and the place fit."""

    def tamper(path: Path) -> None:
        edit(path, change)
        record = read_record(path)
        record = record.model_copy(update={"key": record.recomputed_key()})
        edit(path, lambda content: content.update(key=record.key))
        target = path.with_name(f"{record.key}.json")
        path.rename(target)
        path.with_suffix(".npz").rename(target.with_suffix(".npz"))

    return tamper


def double(path: Path) -> None:
    for suffix in (".json", ".npz"):
        shutil.copy(path.with_suffix(suffix), path.with_name("copy.json").with_suffix(suffix))


def other_predictions(path: Path) -> None:
    write_predictions(path.with_suffix(".npz"), predictions(9, 0.1))


def recounted(path: Path, arrays: dict[str, Any]) -> None:
    """Predictions exchanged by somebody who takes care that the counts follow from them."""
    write_predictions(path.with_suffix(".npz"), arrays)
    edit(path, lambda content: content.update(counts=rescore(arrays).model_dump()))


def cut_a_wrong_answer_out(path: Path) -> None:
    arrays = read_predictions(path.with_suffix(".npz"))
    wrong = int(np.flatnonzero(arrays["class_incremental"][-1] != arrays["labels"])[0])
    recounted(path, {name: np.delete(array, wrong, axis=-1) for name, array in arrays.items()})


def take_the_results_of_another_seed(path: Path) -> None:
    other = next(one for one in sorted(path.parent.glob("*.json")) if one != path)
    recounted(path, read_predictions(other.with_suffix(".npz")))


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.with_suffix(".npz").read_bytes())
    content[content.index(b"labels.npy") + 40] ^= 0xFF
    path.with_suffix(".npz").write_bytes(content)


def parts_that_are_no_numbers_of_parts(path: Path) -> None:
    arrays = predictions(read_record(path).seed, 0.4)
    np.savez(path.with_suffix(".npz"), **{**arrays, "task": arrays["task"].astype(float)})


def a_probe_of_its_own(content: dict[str, Any]) -> None:
    reading = {"name": "head", "higher_is_better": True, "values": [0.99] * 4, "correct": [2] * 4, "n": 10}
    content["probes"] = [reading]


def nest_endlessly(path: Path) -> None:
    path.write_text("[" * 200_000)


def borrow_a_rerun(path: Path) -> None:
    other = one_of(path.parents[3], "good")
    write_rerun(compare_rerun(read_record(other), read_record(other)), other, read_record(other), "")
    other.with_suffix(".rerun.json").rename(path.with_suffix(".rerun.json"))


TAMPERED: dict[str, tuple[Callable[[Path], None], str]] = {
    "a changed count": (
        lambda path: edit(path, lambda content: content["counts"]["class_incremental"][3].__setitem__(0, 8)),
        "counts.class_incremental does not follow from the predictions",
    ),
    "other predictions": (other_predictions, "does not follow from the predictions"),
    "predictions that are gone": (
        lambda path: path.with_suffix(".npz").unlink(), ".npz': No such file or directory",
    ),
    "a swapped seed": (
        lambda path: edit(path, lambda content: content.update(seed=5)), "its key does not follow from its content",
    ),
    "a seed swapped with care": (
        rekeyed(lambda content: content.update(seed=1)),
        "is poor on tiny with seed 1 too",
    ),
    "a doubled row": (double, "it is the same run as"),
    "another version of the stream": (
        rekeyed(lambda content: content["scenario"].update(fingerprint="other")),
        "its stream is another one than that of 'tiny/good/",
    ),
    "another configuration": (
        rekeyed(lambda content: content["config"].update(limit_tasks=2)), "its limit_tasks differs from that of",
    ),
    "another training of one seed": (
        rekeyed(lambda content: content["config"]["training"].update(epochs=9)),
        "its training differs from that of 'tiny/poor/",
    ),
    "a run judged on validation parts": (
        rekeyed(lambda content: content["config"].update(judged_on="validation")),
        "it is judged on validation parts",
    ),
    "a truncated file": (
        lambda path: path.write_text(path.read_text()[:-200]), "is not complete JSON",
    ),
    "another kind of stream": (
        lambda path: edit(path, lambda content: content["scenario"].update(kind="task_incremental")),
        "its stream is task_incremental, but its configuration asks for class_incremental",
    ),
    "another kind of stream, asked for": (
        rekeyed(lambda content: (content["scenario"].update(kind="blurry"),
                                 content["config"]["scenario"].update(kind="blurry"))),
        "its kind of stream, scenario differs from that of",
    ),
    "a wrong answer cut out": (cut_a_wrong_answer_out, "its predictions are of other test images than those of"),
    "results of another seed": (
        take_the_results_of_another_seed, "its predictions are of other test images than those of",
    ),
    "damaged predictions": (flip_a_byte, "its predictions cannot be counted: cannot read the predictions"),
    "predictions of another type": (parts_that_are_no_numbers_of_parts, "its predictions cannot be counted"),
    "a probe of its own": (
        lambda path: edit(path, a_probe_of_its_own),
        "probes.head: its values are not the right answers divided by 10",
    ),
    "a task that is gone": (
        lambda path: edit(path, lambda content: content["tasks"].pop()),
        "tasks has 2 entries, but its matrix asks for 3",
    ),
    "a cost below nothing": (
        lambda path: edit(path, lambda content: content["cost"]["stored_bytes"].update(exemplars=-5)),
        "cost.stored_bytes.exemplars is -5, but must be at least 0",
    ),
    "no number": (
        lambda path: edit(path, lambda content: content["environment"].update(threads=float("nan"))),
        "it holds a number that JSON cannot carry: nan",
    ),
    "half a character": (
        lambda path: edit(path, lambda content: content["config"]["dataset"].update(name="\ud800")),
        "it holds half a character: '\\ud800'",
    ),
    "endless nesting": (nest_endlessly, "is not complete JSON"),
    "the rerun of another record": (borrow_a_rerun, "reports the rerun of another record"),
    "a record in another's place": (
        lambda path: path.rename(path.with_name("x.json")) and path.with_suffix(".npz").rename(path.with_name("x.npz")),
        "its place is 'tiny/poor/",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERED)
def test_tampering_is_caught_by_the_check_and_the_build_with_what_and_where(
    board: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tamper, complaint = TAMPERED[name]
    path = one_of(board, "poor")
    if "seed swapped" in name:
        path = next(p for p in (board / "records/tiny/poor").glob("*.json") if read_record(p).seed == 0)
    before = (board / "README.md").read_bytes()
    tamper(path)
    assert main(["leaderboard", "check", "--folder", str(board)]) == 1
    said = capsys.readouterr().err
    assert any(complaint in line and "tiny/poor/" in line for line in said.splitlines()), said
    assert main(["leaderboard", "build", "--folder", str(board)]) == 2
    assert complaint in capsys.readouterr().err
    assert (board / "README.md").read_bytes() == before


def test_a_lost_row_is_told_and_goes_only_by_name(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = one_of(board, "poor")
    row = f"tiny/poor/{read_record(path).seed}"
    path.unlink()
    path.with_suffix(".npz").unlink()
    assert main(["leaderboard", "check", "--folder", str(board)]) == 1
    assert f"row '{row}' is lost: its record {path.stem[:12]} is not below records/" in capsys.readouterr().err
    assert main(["leaderboard", "build", "--folder", str(board)]) == 2
    assert "--drop" in capsys.readouterr().err
    assert main(["leaderboard", "build", "--folder", str(board), "--drop", row.replace("poor", "por")]) == 2
    assert f"unknown row in --drop: '{row.replace('poor', 'por')}'. Did you mean '{row}'" in capsys.readouterr().err
    assert main(["leaderboard", "build", "--folder", str(board), "--drop", row]) == 0
    assert main(["leaderboard", "check", "--folder", str(board)]) == 0


@pytest.mark.parametrize("name", ["data/tiny.csv", "site/boards/tiny.html", "README.md", "data/board.json"])
def test_an_edited_or_missing_file_is_told(board: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (board / name).read_text()
    line = next(number for number, line in enumerate(text.splitlines(), 1) if "poor" in line)
    (board / name).write_text(text.replace("poor", "best", 1))
    assert main(["leaderboard", "check", "--folder", str(board)]) == 1
    said = capsys.readouterr().err
    assert f"{name} differs from what the records give:\n  line {line}, published:" in said
    assert "best" in said
    assert len(max(said.splitlines(), key=len)) < 250
    (board / name).unlink()
    assert f"{name} is missing" in check(Leaderboard(board))
    build(Leaderboard(board))
    (board / "site" / "extra.html").write_text("x")
    assert check(Leaderboard(board)) == ["site/extra.html: nothing makes it"]
    build(Leaderboard(board))
    assert check(Leaderboard(board)) == []


def test_rows_are_not_forgotten_with_their_index(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (board / "rows.json").read_text()
    (board / "rows.json").write_text(text.replace("poor", "best", 1))
    assert main(["leaderboard", "check", "--folder", str(board)]) == 1
    assert "row 'tiny/best/0' is lost" in capsys.readouterr().err
    shutil.rmtree(board / "records" / "tiny" / "poor")
    (board / "rows.json").unlink()
    assert main(["leaderboard", "build", "--folder", str(board)]) == 2
    assert "rows.json' is gone: restore it from the history" in capsys.readouterr().err
    assert main(["leaderboard", "check", "--folder", str(board)]) == 1


def test_a_plugin_of_others_is_not_compared_and_that_is_told(board: Path) -> None:
    def foreign(content: dict[str, Any]) -> None:
        content["plugins"][0].update(name="nobody_has_this", distribution="somebody 1.0")

    for path in list((board / "records" / "tiny" / "poor").glob("*.json")):
        rekeyed(foreign)(path)
    row = build_board(board / "records", board / "none").benchmarks[0].rows[1]
    assert row.badge == "measured"
    assert row.runs[0].notes == ["plugin 'nobody_has_this' of somebody 1.0: its source is not compared"]


def test_a_run_under_the_name_of_a_shipped_benchmark_is_held_against_it(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "plain", 0, benchmark="cub200_b0_inc20")
    refused = add(tmp_path / "runs", tmp_path / "board")[0]
    assert "its dataset, scenario, backbone is not what benchmark 'cub200_b0_inc20' asks for" in refused.reason
    assert add(tmp_path / "runs", tmp_path / "board", stale=True)[0].verdict == "added"
    build(Leaderboard(tmp_path / "board"))
    assert build_board(tmp_path / "board/records", tmp_path / "none").benchmarks[0].rows[0].badge == "stale"


def test_a_run_of_more_tasks_than_the_benchmark_has_is_held_against_it(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "plain", 0, benchmark="cifar100_scratch")
    refused = add(tmp_path / "runs", tmp_path / "board")[0]
    assert "its dataset, scenario, limit_tasks, backbone is not what" in refused.reason


@pytest.mark.parametrize(
    ("method", "changed", "complaint"),
    [
        ("ncm", {}, ""),
        ("ncm", {"precision": "32", "threads": 2}, ""),
        ("my own", {"epochs": 8}, ""),
        ("ncm", {"epochs": 8}, "its training.epochs is not what"),
        ("slca", {}, "its plugins, training.epochs, training.head_init, training.loss, training.optimizer is not what"),
        ("replay(capacity=7)", {}, "its plugins is not what"),
        ("replay(capacity=[7, 8])", {}, ""),
        (" ncm", {}, ""),
    ],
)
def test_a_method_is_what_its_name_stands_for_in_a_shipped_benchmark(
    tmp_path: Path, method: str, changed: dict[str, Any], complaint: str
) -> None:
    spec = load_benchmark("quickstart")[0]
    training = json.loads(json.dumps(spec.training.resolved().recorded()))
    config = {
        **stream_config(spec, None), "training": {**training, **changed},
        "backbone": {"name": spec.backbone.name, "image_size": spec.backbone.image_size},
    }  # fmt: skip
    record = make_record(method, 0, benchmark="quickstart", config=config)
    notes = benchmark_notes(record)
    assert [complaint in note for note in notes] == ([True] if complaint else [])


@pytest.mark.parametrize(
    "method", ["foreign.part:Plugin", "ncm+foreign.part:Plugin", "{folder}/foreign/part.py", "(", ""]
)
def test_the_name_of_a_foreign_record_leads_to_no_code(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "foreign").mkdir()
    for name in ("__init__", "part"):
        (tmp_path / "foreign" / f"{name}.py").write_text("raise SystemExit('it was run')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = load_benchmark("quickstart")[0]
    backbone = {"name": spec.backbone.name, "image_size": spec.backbone.image_size}
    config = {**stream_config(spec, None), "training": {}, "backbone": backbone}
    record = make_record(method.format(folder=tmp_path), 0, benchmark="quickstart", config=config)
    assert benchmark_notes(record) == []
    assert "foreign" not in sys.modules


def test_build_writes_over_nothing_of_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "runs", "plain", 0)
    before = sorted(tmp_path.rglob("*"))
    for command in ("build", "check"):
        assert main(["leaderboard", command, "--folder", str(tmp_path / "runs")]) == 2
        assert "is not a leaderboard: it has no records/" in capsys.readouterr().err
    (tmp_path / "own" / "records").mkdir(parents=True)
    (tmp_path / "own" / "README.md").write_text("# My project\n")
    assert main(["leaderboard", "build", "--folder", str(tmp_path / "own")]) == 2
    assert "is not a leaderboard's page, and build would write over it" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == sorted([*before, *(tmp_path / "own").rglob("*"), tmp_path / "own"])


def test_one_run_stands_on_one_board(board: Path, tmp_path: Path) -> None:
    path = write_run(tmp_path / "again", "good", 0, 0.9)
    edit(path, lambda content: content.update(benchmark="another"))
    assert add(tmp_path / "again", board)[0].reason.startswith("it is the same run as 'tiny/good/")


def test_a_record_of_an_unknown_plugin_is_shown_as_stale_with_the_reason(board: Path) -> None:
    for path in list((board / "records" / "tiny" / "poor").glob("*.json")):
        rekeyed(unknown_plugin)(path)
    registered(board, *(board / "records" / "tiny" / "poor").glob("*.json"))
    build(Leaderboard(board))
    row = build_board(board / "records", board / "none").benchmarks[0].rows[1]
    assert row.badge == "stale"
    assert [run.notes for run in row.runs] == [["plugin 'nobody_has_this' is unknown to this version"]] * 2


def test_a_foreign_name_is_escaped_in_every_file(tmp_path: Path) -> None:
    evil = "=<script>alert(1)</script>|`x`"
    path = write_run(tmp_path / "runs", "plain", 0)
    edit(path, lambda content: content.update(method=evil))
    assert [one.verdict for one in add(tmp_path / "runs", tmp_path / "board")] == ["added"]
    build(Leaderboard(tmp_path / "board"))
    made = {
        path: path.read_text() for path in (tmp_path / "board").rglob("*") if path.suffix in (".html", ".md", ".js")
    }
    assert not [path for path, text in made.items() if "<script>alert" in text]
    assert "=&lt;script>alert(1)&lt;/script>\\|\\`x\\`" in (tmp_path / "board" / "README.md").read_text()
    assert f"\n1,,,,'{evil},'{evil},measured" in (tmp_path / "board" / "data" / "tiny.csv").read_text()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"status": "failed"}, "the run is not done but failed"),
        ({"environment": {"where": "/home/somebody"}}, "it holds a path of a machine: '/home/somebody'"),
        ({"benchmark": "../elsewhere"}, "its benchmark '../elsewhere' holds '/', which no folder may be called"),
        ({"benchmark": ".."}, "its benchmark '..' is not a name"),
        ({"benchmark": ""}, "its benchmark '' is not a name"),
        ({"benchmark": "a\0b"}, "its benchmark 'a\\x00b' holds '\\x00', which cannot be printed"),
        ({"method": " "}, "its method ' ' is not a name"),
        ({"method": ".."}, "its method '..' is not a name"),
        ({"method": "m" * 300}, "the name of its method takes 300 bytes, but may take 120 at most"),
    ],
)
def test_records_that_may_not_be_published(
    tmp_path: Path, change: dict[str, Any], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(write_run(tmp_path / "runs", "plain", 0), lambda content: content.update(change))
    arguments = ["leaderboard", "add", str(tmp_path / "runs"), "--folder", str(tmp_path / "board")]
    assert main(arguments) == 1
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "board" / "records").exists()


def test_streams_are_compared_with_the_data_where_they_are_at_hand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from clsuite.data.datasets import load_table
    from clsuite.data.spec import DatasetSpec
    from clsuite.scenarios import ScenarioSpec, build_scenario

    spec = ScenarioSpec.model_validate({"kind": "class_incremental", "tasks": 5})
    scenario = build_scenario(load_table(DatasetSpec(name="digits"), 32), spec, 0, None)
    config = {**make_record("a", 0).config, "dataset": {"name": "digits"}, "scenario": spec.model_dump()}
    known = make_record("a", 0).scenario
    good = known.model_copy(update={"fingerprint": scenario.fingerprint})
    write_run(tmp_path / "runs", "invented", 0, config=config, scenario=good)
    write_run(tmp_path / "runs", "other", 0, config=config)
    absent = {**config, "dataset": {"name": "cifar100"}}
    write_run(tmp_path / "far", "absent", 0, config=absent)
    folder = ["--folder", str(tmp_path / "board"), "--data-root", str(tmp_path)]
    assert main(["leaderboard", "add", str(tmp_path / "runs"), *folder]) == 1
    said = capsys.readouterr().err
    assert "refused: tiny/invented/0: its scenario.task_fingerprints is not that of the stream" in said
    assert "refused: tiny/other/0: its stream is not the one that the data give now (f0 in the record" in said
    assert main(["leaderboard", "add", str(tmp_path / "far"), "--folder", str(tmp_path / "b"), *folder[2:]]) == 0
    assert "streams of tiny were not compared with the data: no copy of 'cifar100'" in capsys.readouterr().err


def test_costs_have_a_best_but_times_of_several_machines_and_single_values_have_none(tmp_path: Path) -> None:
    board = tmp_path / "board"
    add(write_run(tmp_path / "runs", "good", 0, 0.9), board)
    alone = build_board(board / "records", board / "none").benchmarks[0].rows[0]
    assert not any(figure.best for figure in alone.figures.values())
    add(write_run(tmp_path / "runs", "poor", 0, 0.4), board)
    made = build_board(board / "records", board / "none").benchmarks[0]
    assert not any(row.figures[name].best for row in made.rows for name in ("stored_bytes", "train_seconds"))
    assert [row.figures["final_accuracy_macro"].best for row in made.rows] == [True, False]
    quick = [task.model_copy(update={"train_seconds": 0.1}) for task in make_record("a", 0).tasks]
    cost = make_record("a", 0).cost
    assert cost is not None
    dear = cost.model_copy(update={"stored_bytes": {"prototypes": 36}})
    add(write_run(tmp_path / "runs", "quick", 0, 0.5, tasks=quick, cost=dear), board)
    made = build_board(board / "records", board / "none").benchmarks[0]
    assert [row.method for row in made.rows if row.figures["train_seconds"].best] == ["quick"]
    assert [row.method for row in made.rows if row.figures["stored_bytes"].best] == ["good", "poor"]
    add(write_run(tmp_path / "runs", "other", 0, 0.6, environment={**ENVIRONMENT, "device": "Y"}), board)
    made = build_board(board / "records", board / "none").benchmarks[0]
    assert not any(row.figures["train_seconds"].best for row in made.rows)
    assert [row.method for row in made.rows if row.figures["stored_bytes"].best] == ["good", "other", "poor"]


def test_a_row_whose_runs_are_of_several_kinds_has_no_training_time(tmp_path: Path) -> None:
    board, kinds = tmp_path / "board", ("32-true", "bf16-mixed")
    for method, right, precisions in (("mixed", 0.9, kinds), ("alike", 0.8, kinds[:1] * 2)):
        for seed, precision in enumerate(precisions):
            environment = {**ENVIRONMENT, "precision": precision}
            add(write_run(tmp_path / "runs", method, seed, right, environment=environment), board)
    build(Leaderboard(board))
    rows = {row.method: row for row in build_board(board / "records", board / "none").benchmarks[0].rows}
    for name, value in (("train_seconds", 4.5), ("eval_seconds", 1.5)):
        mixed, alike = rows["mixed"].figures[name], rows["alike"].figures[name]
        assert (mixed.mean, mixed.low, mixed.high, mixed.values) == (None, None, None, (value,) * 2)
        assert (alike.mean, alike.low, alike.high) == (value, value, value)
    lines = {line["method"]: line for line in csv.DictReader((board / "data" / "tiny.csv").open())}
    assert [lines["mixed"][f"train_seconds{part}"] for part in ("", "_low", "_high")] == ["", "", ""]
    seeds = list(csv.DictReader((board / "data" / "tiny.seeds.csv").open()))
    assert [line["train_seconds"] for line in seeds] == ["4.5"] * 4
    assert [line["precision"] for line in seeds if line["method"] == "mixed"] == [*kinds]
    plots = {plot.axis: plot for plot in pareto_plots(build_board(board / "records", board / "none").benchmarks[0])}
    assert [point.name for point in plots["training time (s)"].points] == ["alike"]


def test_the_interval_of_a_cost_does_not_reach_below_zero(tmp_path: Path) -> None:
    tasks = make_record("good", 0).tasks
    for seed in (0, 1):
        took = [task.model_copy(update={"train_seconds": 1.0 + 9 * seed}) for task in tasks]
        add(write_run(tmp_path / "runs", "good", seed, 0.9, tasks=took), tmp_path / "board")
    row = build_board(tmp_path / "board" / "records", tmp_path / "none").benchmarks[0].rows[0]
    time = row.figures["train_seconds"]
    assert (time.mean, time.low) == (16.5, 0.0)
    assert time.high == pytest.approx(16.5 + 171.5, abs=0.1)
    assert half_text(time, COLUMNS["train_seconds"]) == "171.5"


def test_changes_of_probes_have_no_best_and_that_of_a_distance_is_no_column(tmp_path: Path) -> None:
    def read(name: str, end: float) -> ProbeEntry:
        return ProbeEntry(name=name, higher_is_better=False, values=[0.0, 0.0, 0.0, end])

    def count(right: int) -> ProbeEntry:
        kept = [8, 8, 8, right]
        return ProbeEntry(name="head", higher_is_better=True, values=[one / 8 for one in kept], correct=kept, n=8)

    for method, right, end in (("good", 0.9, 0.1), ("poor", 0.4, 0.2)):
        config = {**make_record(method, 0, right).config, "probes": [{"kind": "head"}, {"kind": "calibration"}]}
        probes = [count(int(right * 8)), read("head_kl", end), read("calibration", end)]
        add(write_run(tmp_path / "runs", method, 0, right, config=config, probes=probes), tmp_path / "board")
    made = build_board(tmp_path / "board" / "records", tmp_path / "none").benchmarks[0]
    known = {metric.name: metric for metric in made.metrics if metric.name.startswith("probe_")}
    assert [*known] == [
        "probe_calibration", "probe_calibration_change", "probe_head", "probe_head_change", "probe_head_kl",
    ]  # fmt: skip
    assert [metric.higher_is_better for metric in known.values()] == [False, None, True, None, False]
    assert [made.rows[0].figures[name].best for name in known] == [True, False, True, False, True]
    assert "minus the reading of the pre-trained backbone before the stream" in known["probe_head_change"].about
    assert all(metric.about for metric in made.metrics)


@pytest.mark.parametrize("order", [["b", "a"], {"numpy": 1993}, "given"])
def test_a_stream_with_an_order_of_its_own_is_that_of_its_benchmark(
    order: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file gives back a list where the benchmark has a tuple."""
    spec = load_benchmark("quickstart")[0]
    scenario = ScenarioSpec.model_validate({"tasks": 2, "order": order})
    monkeypatch.setattr(status, "_shipped", lambda name: spec.model_copy(update={"scenario": scenario}))
    backbone = {"name": spec.backbone.name, "image_size": spec.backbone.image_size}
    config = json.loads(json.dumps({**stream_config(status._shipped(""), None), "backbone": backbone}))
    record = make_record("my own", 0, benchmark="quickstart", config=config)
    assert benchmark_notes(record) == []
    other = {**config, "scenario": {**config["scenario"], "order": "seed"}}
    assert "its scenario is not what" in benchmark_notes(record.model_copy(update={"config": other}))[0]


def test_a_row_carries_the_years_of_all_its_papers(board: Path, tmp_path: Path) -> None:
    entry = make_record("pool", 0).plugins[0].model_copy(update={"name": "l2p"})
    add(write_run(tmp_path / "pool", "pool", 0, 0.5, plugins=[entry]), board, stale=True)
    rows = {row.method: row for row in build_board(board / "records", board / "none").benchmarks[0].rows}
    assert rows["pool"].tags.years == [2022, 2024]
    assert rows["good"].tags.years == [2024]


def test_what_is_left_of_a_difference_of_equal_numbers_is_zero() -> None:
    assert [rounded(value) for value in (0.3 - 0.1 * 3, -1e-17, 1 / 3, 2.5e9 / 3, float("nan"))] == [
        0.0, 0.0, 0.333333333, 833333333.0, None,
    ]  # fmt: skip
    assert str(rounded(-1e-17)) == "0.0"


def test_a_search_before_a_run_is_told_beside_it(board: Path, tmp_path: Path) -> None:
    trial = TrialEntry(values={"right": 0.55}, score=0.5, gradient_samples=1200, seconds=1)
    tuning = TuningEntry(
        metric="final_accuracy_macro", space="s", sampler="grid", sampler_seed=0, tasks=1, validation=0.1, seed=0,
        chosen=trial.values,
        trials=[trial, trial.model_copy(update={"values": {"right": 2}})],
    )  # fmt: skip
    add(write_run(tmp_path / "tuned", "tuned", 0, 0.55, tuning=tuning), board)
    rows = {row.method: row for row in build_board(board / "records", board / "none").benchmarks[0].rows}
    assert rows["tuned"].badge == "measured"
    assert rows["tuned"].runs[0].notes == ["right chosen in 2 trials of 2.4 k gradient samples in all"]


def test_build_removes_nothing_that_is_not_the_leaderboards(
    board: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "project" / "data" / "cifar100" / "train.npy"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"images")
    shutil.copytree(board / "records", tmp_path / "project" / "records")
    shutil.copy(board / "rows.json", tmp_path / "project")
    assert main(["leaderboard", "build", "--folder", str(tmp_path / "project")]) == 2
    assert f"such as '{own}', and build would remove them" in capsys.readouterr().err
    assert own.read_bytes() == b"images"
    assert not (tmp_path / "project" / "README.md").exists()
    (board / "data" / "old.csv").write_text("made by an earlier version")
    assert main(["leaderboard", "build", "--folder", str(board)]) == 0
    assert not (board / "data" / "old.csv").exists()


def test_build_begins_no_leaderboard_where_a_folder_is_misspelled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.json").write_text("{")
    assert main(["leaderboard", "add", str(tmp_path / "broken.json"), "--folder", str(tmp_path / "leaderbord")]) == 1
    assert capsys.readouterr().out == "1 refused\n"
    assert main(["leaderboard", "build", "--folder", str(tmp_path / "leaderbord")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert main(["leaderboard", "check", "--folder", str(tmp_path / "leaderbord")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert not (tmp_path / "leaderbord").exists()


def test_a_file_among_the_records_that_belongs_to_none_is_told(board: Path) -> None:
    record = one_of(board, "poor")
    stray = [record.with_suffix(".bak"), record.with_name("notes.txt"), board / "records" / f"{'0' * 64}.npz"]
    for path in stray:
        path.write_text("x")
    build(Leaderboard(board))
    told = {f"{path.relative_to(board)}: it belongs to no record" for path in stray}
    assert set(check(Leaderboard(board))) == told


@pytest.mark.parametrize("name", ["site/elsewhere", "data/elsewhere", "site/boards/elsewhere"])
def test_a_link_that_leads_out_of_the_leaderboard_is_told_and_goes(board: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "own.txt").write_text("mine")
    (board / name).symlink_to(outside)
    assert check(Leaderboard(board)) == [f"{name}: nothing makes it"]
    build(Leaderboard(board))
    assert ((board / name).is_symlink(), (outside / "own.txt").read_text()) == (False, "mine")
    assert check(Leaderboard(board)) == []


def test_a_folder_of_the_page_that_is_a_link_is_made_anew_and_not_written_through(board: Path, tmp_path: Path) -> None:
    (board / "site" / "boards").rename(tmp_path / "outside")
    (tmp_path / "outside" / "tiny.html").write_text("mine")
    (board / "site" / "boards").symlink_to(tmp_path / "outside")
    assert "site/boards: nothing makes it" in check(Leaderboard(board))
    build(Leaderboard(board))
    assert (tmp_path / "outside" / "tiny.html").read_text() == "mine"
    assert check(Leaderboard(board)) == []


def test_a_link_among_the_records_is_told(board: Path, tmp_path: Path) -> None:
    (board / "records" / "tiny" / "elsewhere").symlink_to(tmp_path)
    assert check(Leaderboard(board)) == ["records/tiny/elsewhere: it belongs to no record"]


@pytest.mark.parametrize("command", [["add", "{runs}"], ["rerun", "tiny/good/0"]])
def test_a_data_root_that_is_not_there_is_told(
    board: Path, tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.format(runs=tmp_path / "runs") for word in command]
    assert main(["leaderboard", *words, "--folder", str(board), "--data-root", str(tmp_path / "nope")]) == 2
    said = capsys.readouterr()
    assert (said.out, f"--data-root '{tmp_path / 'nope'}' is not a folder" in said.err) == ("", True)


def test_of_two_runs_of_one_seed_the_one_that_is_meant_is_named(tmp_path: Path) -> None:
    config = make_record("good", 0).config
    write_run(tmp_path / "runs", "good", 0, 0.9)
    write_run(tmp_path / "runs", "good", 0, 0.9, config={**config, "training": {"epochs": 2}})
    verdicts = add(tmp_path / "runs", tmp_path / "board")
    assert sorted(one.verdict for one in verdicts) == ["added", "refused"]
    (reason,) = (one.reason for one in verdicts if one.verdict == "refused")
    assert reason.endswith("is good on tiny with seed 0 too: name the one that is to stand")


def test_a_broken_index_is_told(board: Path) -> None:
    (board / "rows.json").write_text("[]")
    with pytest.raises(UserError, match="restore it from the history"):
        check(Leaderboard(board))


def test_published_records_are_records_for_other_commands_too(
    board: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = read_record(one_of(board, "good"))
    write_rerun(compare_rerun(record, record), one_of(board, "good"), record, "")
    assert main(["table", str(board), "--format", "csv", "--columns", "final_accuracy_macro"]) == 0
    assert [line.split(",")[:3] for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["tiny", "good", "0 1"], ["tiny", "poor", "0 1"],
    ]  # fmt: skip
    assert main(["table", str(board / "records"), "--format", "latex"]) == 0
    assert r"\bottomrule" in capsys.readouterr().out
    assert main(["compare", "good", "poor", "--runs", str(board)]) == 0
    assert "good is" in capsys.readouterr().out
    assert main(["plot", str(board), "-o", str(tmp_path / "x.svg")]) == 0
    assert (tmp_path / "x.svg").stat().st_size > 1000
