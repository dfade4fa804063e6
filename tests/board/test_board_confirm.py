"""Real canaries in a repository made for it: earlier sources from its history beside those that lie there now."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from published_records import ENVIRONMENT, make_record, write_run

from clsuite.board.build import build_board
from clsuite.board.history import check_out
from clsuite.board.layout import Leaderboard
from clsuite.board.publish import add_records
from clsuite.cli.main import main
from clsuite.errors import UserError
from clsuite.plugin.arguments import resolve_arguments
from clsuite.plugin.catalog import find_plugin
from clsuite.records import PluginEntry
from clsuite.records.record import RESULTS_VERSION

ROOT = Path(__file__).parents[2]
QUICKSTART = """
name: quickstart
dataset: {name: digits, train_per_class: 4, test_per_class: 5}
scenario: {kind: class_incremental, tasks: 5}
backbone: {name: omniglot_vit, weights: bundled, image_size: 32}
training: {epochs: 1, batch_size: 8}
methods: {ncm: ncm}
more_methods: {fecam: fecam}
"""
OTHER = """

def _otherwise(self, learner, batch, given={name}.predict):
    return -given(self, learner, batch)


{name}.predict = _otherwise
"""


def git(repository: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    command = ["git", "-C", str(repository), *who, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the sources of now as its first commit."""
    place = tmp_path_factory.mktemp("history") / "repository"
    for folder in ("clsuite", "plugins"):
        shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", ".gitignore"):  # so that compiled files do not count as changes
        shutil.copy(ROOT / name, place)
    (place / "benchmarks").mkdir()
    (place / "benchmarks/__init__.py").write_text("")
    (place / "benchmarks/quickstart.yaml").write_text(QUICKSTART)
    git(place.parent, "init", "-q", str(place))
    git(place, "add", "-A", "-f")
    git(place, "commit", "-q", "-m", "first")
    names = {"clsuite": "clsuite", "clsuite_plugins": "plugins", "clsuite_benchmarks": "benchmarks"}
    (place.parent / "site").mkdir()
    for name, folder in names.items():
        (place.parent / "site" / name).symlink_to(place / folder)
    return place


def row_of(folder: Path, plugin: str, commit: str | None, **changes: Any) -> None:
    """A run as the sources of the first commit leave it, of a benchmark that nothing else judges."""
    info, source = find_plugin(plugin)
    entry = PluginEntry(
        name=plugin, args=resolve_arguments(plugin, source, {}), source=source.sha256, distribution=info.distribution
    )
    environment = {**ENVIRONMENT, "commit": commit, "dirty": False, **changes}
    cost = make_record("any", 0).cost
    assert cost is not None
    stored = dict.fromkeys(source.traits.memory, 24)
    cost = cost.model_copy(update={"stored_bytes": stored})
    write_run(folder, plugin, 0, plugins=[entry], environment=environment, cost=cost)


def publish(runs: Path, board: Path) -> None:
    outcomes = add_records([runs], Leaderboard(board), False, False, lambda record, arrays: "")
    assert {one.verdict for one in outcomes} == {"added"}, outcomes


def clsuite_of(repository: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Call the clsuite that lies in the repository."""
    environment = {**os.environ, "PYTHONPATH": str(repository.parent / "site")}
    command = [sys.executable, "-m", "clsuite.cli.main", *words]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=repository.parent, timeout=300
    )


def badges(repository: Path, board: Path) -> dict[str, str]:
    done = clsuite_of(repository, "leaderboard", "build", "--folder", str(board))
    assert done.returncode == 0, done.stderr
    made = json.loads((board / "data/board.json").read_text())
    return {row["method"]: row["badge"] for row in made["benchmarks"][0]["rows"]}


@pytest.mark.slow
def test_a_row_survives_what_changes_no_count_and_no_row_survives_what_does(repository: Path, tmp_path: Path) -> None:
    commit, board = git(repository, "rev-parse", "HEAD"), tmp_path / "board"
    for plugin in ("ncm", "fecam"):
        row_of(tmp_path / "runs", plugin, commit)
    publish(tmp_path / "runs", board)
    append(repository / "plugins/ncm.py", '\n# A remark.\n"""And a text."""\n')
    assert badges(repository, board) == {"ncm": "measured", "fecam": "measured"}
    done = clsuite_of(repository, "leaderboard", "confirm", "--folder", str(board))
    assert (done.returncode, done.stdout.strip()) == (0, "0 rows confirmed, 0 stay stale, 2 were current")

    append(repository / "plugins/ncm.py", "\nUNUSED = 1\n")
    append(repository / "plugins/fecam.py", OTHER.format(name="FeCAM"))
    record = repository / "clsuite/records/record.py"
    version = f"RESULTS_VERSION = {RESULTS_VERSION}"
    record.write_text(record.read_text().replace(version, f"RESULTS_VERSION = {RESULTS_VERSION + 1}"))
    git(repository, "commit", "-qam", "second")
    assert badges(repository, board) == {"ncm": "stale", "fecam": "stale"}
    done = clsuite_of(repository, "leaderboard", "confirm", "--folder", str(board))
    assert done.returncode == 1, done.stderr
    assert "confirmed: ncm: quickstart/ncm/0 gives the same counts (1 rows)" in done.stdout
    assert "stale: tiny/fecam/0: " in done.stderr
    assert "counts differ, first after task 1; final accuracy" in done.stderr
    assert badges(repository, board) == {"ncm": "measured", "fecam": "stale"}
    assert clsuite_of(repository, "leaderboard", "check", "--folder", str(board)).returncode == 0
    entry = json.loads((board / "confirmed.json").read_text())[0]
    assert (entry["old_results"], entry["new_results"], entry["commit"]) == (
        RESULTS_VERSION, RESULTS_VERSION + 1, commit,
    )  # fmt: skip
    assert entry["plugins"][0]["old"] == find_plugin("ncm")[1].sha256 != entry["plugins"][0]["new"]

    append(repository / "plugins/ncm.py", "\nUNUSED = 2\n")
    assert badges(repository, board) == {"ncm": "stale", "fecam": "stale"}
    assert git(repository, "worktree", "list").count("\n") == 0
    assert git(repository, "status", "--porcelain") == "M plugins/ncm.py"


@pytest.mark.slow
def test_sources_that_did_not_lead_to_what_is_checked_out_do_not_run(repository: Path, tmp_path: Path) -> None:
    """A branch of somebody's that was fetched, or a commit that the checkout came before."""
    marked = tmp_path / "ran"
    git(repository, "stash", "-q")
    git(repository, "checkout", "-q", "-b", "theirs")
    append(repository / "clsuite/cli/main.py", f"\nopen({str(marked)!r}, 'w').close()\n")
    git(repository, "commit", "-qam", "theirs")
    theirs = git(repository, "rev-parse", "HEAD")
    git(repository, "checkout", "-q", "-")
    (tmp_path / "site").mkdir()
    with pytest.raises(UserError, match=f"commit {theirs[:9]} is in the repository, but did not lead to what is"):
        check_out(theirs, repository, tmp_path / "site")
    assert not list((tmp_path / "site").iterdir())
    (tmp_path / "own").mkdir()
    check_out(git(repository, "rev-parse", "HEAD"), repository, tmp_path / "own")
    assert (tmp_path / "own/clsuite/cli/main.py").is_file()
    row_of(tmp_path / "runs", "ncm", theirs)
    publish(tmp_path / "runs", tmp_path / "board")
    append(repository / "plugins/ncm.py", "\nUNUSED = 3\n")
    done = clsuite_of(repository, "leaderboard", "confirm", "--folder", str(tmp_path / "board"))
    assert done.returncode == 1
    assert "did not lead to what is checked out" in done.stderr
    assert not marked.exists()


def test_what_is_no_commit_is_not_published(tmp_path: Path) -> None:
    row_of(tmp_path / "runs", "ncm", "--output=x")
    outcomes = add_records([tmp_path / "runs"], Leaderboard(tmp_path / "board"), False, False, lambda *_: "")
    assert [one.verdict for one in outcomes] == ["refused"]
    assert "environment.commit is '--output=x'" in outcomes[0].reason


@pytest.mark.parametrize(
    ("commit", "changes", "reason"),
    [
        ("ab" * 20, {}, "has no history with the sources that made it"),
        (None, {}, "it was not made from a checkout, so that no commit holds its sources"),
        ("ab" * 20, {"dirty": True}, "has no history with the sources that made it"),
    ],
)
def test_without_the_sources_that_made_it_a_row_stays_stale_and_a_line_says_why(
    commit: str | None,
    changes: dict[str, Any],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import re

    board = tmp_path / "board"
    row_of(tmp_path / "runs", "ncm", commit, **changes)
    publish(tmp_path / "runs", board)
    for module in ("board.status", "board.confirmed", "board.confirm", "records.record"):
        monkeypatch.setattr(f"clsuite.{module}.RESULTS_VERSION", RESULTS_VERSION + 1)
    capsys.readouterr()
    assert main(["leaderboard", "confirm", "ncm", "--folder", str(board)]) == 1
    said = capsys.readouterr()
    assert re.search(f"^stale: tiny/ncm/0: .*{reason}", said.err)
    assert said.err.count("\n") == 1
    assert "0 rows confirmed, 1 stay stale, 0 were current" in said.out
    assert not Leaderboard(board).confirmed.exists()
    assert build_board(board / "records", board / "none").benchmarks[0].rows[0].badge == "stale"


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = tmp_path / "board"
    row_of(tmp_path / "runs", "ncm", None)
    publish(tmp_path / "runs", board)
    for words, told in (
        (["ncmm"], "unknown row, benchmark or method: 'ncmm'. Did you mean 'ncm'?"),
        (["--jobs", "0"], "--jobs is 0, but must be at least 1"),
        (["--data-root", "nowhere"], "--data-root 'nowhere' is not a folder"),
    ):
        capsys.readouterr()
        assert main(["leaderboard", "confirm", *words, "--folder", str(board)]) == 2
        said = capsys.readouterr().err
        assert told in said
        assert said.count("\n") == 1
    assert main(["leaderboard", "confirm", "--folder", str(tmp_path / "none")]) == 2
    (board / "confirmed.json").write_text('[{"method": 1}]')
    capsys.readouterr()
    assert main(["leaderboard", "build", "--folder", str(board)]) == 2
    assert "confirmed.json' is not valid" in capsys.readouterr().err
