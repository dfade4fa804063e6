"""A submission: a branch with records only, made beside what is checked out."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from published_records import edit, write_run

from clsuite.board.files import build, check
from clsuite.board.layout import Leaderboard
from clsuite.board.publish import add_records
from clsuite.cli.main import main
from clsuite.records import StateEntry


def git(folder: Path, *words: str) -> str:
    """Call git, as somebody."""
    somebody = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    return subprocess.run(["git", "-C", folder, *somebody, *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a leaderboard of one row; streams are not made again, as their data set is none."""
    monkeypatch.setattr("clsuite.board.validate.streams.Streams.judge", lambda self, record, arrays: "")
    for name, value in {"NAME": "A", "EMAIL": "a@example.org"}.items():
        for who in ("AUTHOR", "COMMITTER"):
            monkeypatch.setenv(f"GIT_{who}_{name}", value)
    repository = tmp_path / "clone"
    board = Leaderboard(repository / "leaderboard")
    write_run(tmp_path / "old", "ncm", 0)
    add_records([tmp_path / "old"], board, False, False, lambda record, arrays: "")
    build(board)
    git(tmp_path, "init", "--quiet", "--initial-branch", "main", str(repository))
    (repository / ".gitignore").write_text(".lock\n")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "a board")
    return repository


def submit(clone: Path, runs: Path, *more: str) -> int:
    return main(["leaderboard", "submit", str(runs), "--folder", str(clone / "leaderboard"), *more])


def branches(clone: Path) -> list[str]:
    return git(clone, "branch", "--format", "%(refname:short)").split()


def test_a_dry_run_shows_the_text_and_leaves_nothing(
    clone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (1, 2):
        write_run(tmp_path / "runs", "mine", seed, 0.9)
    assert submit(clone, tmp_path / "runs", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "Records: 2 runs of 1 method on tiny" in said
    assert "| mine | 1, 2 | " in said
    assert "Made on cpu: X in 32-true." in said
    assert "would be made, with 5 files" in said  # two records with their predictions, and the index
    assert branches(clone) == ["main"]
    assert git(clone, "status", "--porcelain") == ""
    assert len(git(clone, "worktree", "list").splitlines()) == 1


def test_the_branch_has_the_records_and_their_index_alone(
    clone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "runs", "mine", 1, 0.9)
    assert submit(clone, tmp_path / "runs") == 0
    said = capsys.readouterr().out
    [branch] = [name for name in branches(clone) if name != "main"]
    assert branch.startswith("records/tiny-")
    assert f"now: git push origin {branch}" in said
    changed = git(clone, "diff", "--name-only", f"main...{branch}").split()
    assert changed[-1] == "leaderboard/rows.json"
    assert all(name.startswith("leaderboard/records/tiny/mine/") for name in changed[:-1])
    message = git(clone, "log", "-1", "--format=%B", branch)
    assert message.startswith("Records: 1 run of 1 method on tiny\n\n| tiny | seeds |")
    assert git(clone, "status", "--porcelain") == ""
    git(clone, "checkout", "--quiet", branch)
    build(Leaderboard(clone / "leaderboard"))  # as the workflow does
    assert check(Leaderboard(clone / "leaderboard")) == []
    assert "mine" in (clone / "leaderboard" / "README.md").read_text()


def test_the_same_records_are_submitted_once(clone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "runs", "mine", 1, 0.9)
    assert submit(clone, tmp_path / "runs") == 0
    assert submit(clone, tmp_path / "runs") == 2
    assert "is there already: these records were submitted" in capsys.readouterr().err
    assert submit(clone, tmp_path / "old") == 0
    assert "nothing to submit: all records are published already" in capsys.readouterr().out


def test_no_branch_is_made_with_a_refused_record(
    clone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "runs", "mine", 1, 0.9)
    edit(write_run(tmp_path / "runs", "mine", 2, 0.9), lambda content: content.update(seed=3))
    assert submit(clone, tmp_path / "runs") == 1
    said = capsys.readouterr()
    assert "refused: " in said.err
    assert "no branch was made" in said.err
    assert branches(clone) == ["main"]


@pytest.mark.slow
def test_the_text_says_where_states_are(clone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = StateEntry(state="0" * 64, predictions="1" * 64)
    write_run(tmp_path / "runs", "mine", 1, 0.9, states=[entry] * 3)
    assert submit(clone, tmp_path / "runs", "--dry-run", "--states", "https://example.org/s.tar") == 0
    assert "\nStates: https://example.org/s.tar\n" in capsys.readouterr().out
    write_run(tmp_path / "runs", "mine", 2, 0.9)
    assert submit(clone, tmp_path / "runs", "--dry-run", "--states", "https://example.org/s.tar") == 2
    assert "'tiny/mine/2' commits to no states" in capsys.readouterr().err
    assert submit(clone, tmp_path / "runs", "--dry-run", "--states", "a\nb") == 2


def test_what_is_no_repository_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "runs", "mine", 1)
    assert main(["leaderboard", "submit", str(tmp_path / "runs"), "--folder", str(tmp_path / "no")]) == 2
    assert "there is no leaderboard" in capsys.readouterr().err
    (tmp_path / "board").mkdir()
    assert main(["leaderboard", "submit", str(tmp_path / "runs"), "--folder", str(tmp_path / "board")]) == 2
    said = capsys.readouterr().err
    assert "git rev-parse failed in" in said
    assert "not a git repository" in said
    assert len(said.splitlines()) == 1
