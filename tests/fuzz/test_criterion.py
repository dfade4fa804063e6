"""The criterion of all fuzzing can fail: each promise that a call breaks is told."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import criterion
import pytest
from criterion import broken_promises
from test_fuzz_arguments import culprits_of as arguments_of
from test_fuzz_folders import culprits_of as places_of


@pytest.mark.parametrize(
    ("status", "text", "writes", "promise"),
    [
        (2, "clsuite bench: own.yaml:3: seeds is 'x', but must be a list\n", False, ""),
        (0, "", False, ""),
        (3, "clsuite bench: own.yaml\n", False, "status 3"),
        (1, "Traceback (most recent call last):\n", False, "foreign words 'Traceback'"),
        (2, "clsuite bench: own.yaml: Input should be a valid tuple\n", False, "foreign words 'Input should'"),
        (2, "clsuite bench: own.yaml\x1b[2J\n", False, "foreign words"),
        (2, "", False, "too short or too long"),
        (2, "clsuite bench: own.yaml\n" * 16, False, "too short or too long"),
        (2, f"clsuite bench: own.yaml {'x' * 3000}\n", False, "too short or too long"),
        (2, "own.yaml is wrong\n", False, "nobody says it"),
        (2, "clsuite bench: something is wrong\n", False, "none of ['own.yaml'] is named"),
        (2, "clsuite bench: not_own.yaml_at_all is wrong\n", False, "none of ['own.yaml'] is named"),
        (2, "clsuite bench: own.yaml: KeyError: 'x'\n", False, "foreign words 'KeyError'"),
        (2, "clsuite bench: own.yaml: [Errno 13] Permission denied\n", False, "foreign words '[Errno'"),
        (0, "", True, "wrote or removed"),
    ],
)
def test_what_is_broken_is_told(
    status: int, text: str, writes: bool, promise: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def main(words: Sequence[str]) -> int:
        sys.stderr.write(text)
        if writes:
            (tmp_path / "new").touch()
        return status

    monkeypatch.setattr(criterion, "main", main)
    found = broken_promises(["bench"], tmp_path, ["own.yaml"])
    assert bool(found) == bool(promise), found
    assert all(promise in one for one in found[:1])


@pytest.mark.parametrize(
    ("culprit", "text", "named"),
    [
        ("compare", "clsuite compare: no finished record\n", False),
        ("record.json", "clsuite compare: no finished record\n", False),
        ("record.json", "clsuite compare: no finished record in 'record.json'\n", True),
        ("cat", "clsuite bench: a category is wrong\n", False),
        ("cat", "clsuite bench: the class folder 'data/train/cat' holds no images\n", True),
        ("", "clsuite bench: a value is wrong\n", False),
        ("", "clsuite bench: --out: '' is not a path\n", True),
        ("(", "clsuite bench: something (a method) is wrong\n", False),
        ("(", "clsuite bench: cannot read the method '('\n", True),
        ("a\x1bb", "clsuite bench: 'a\\x1bb' is wrong\n", True),
        ("x" * 200, f"clsuite bench: '{'x' * 100}…' is wrong\n", True),
    ],
)
def test_a_culprit_is_named_as_a_word_of_its_own(
    culprit: str, text: str, named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(criterion, "main", lambda words: sys.stderr.write(text) and 2)
    assert (broken_promises(["bench"], tmp_path, [culprit]) == []) == named


@pytest.mark.parametrize(
    ("words", "text", "named"),
    [
        (["check", "./none.py"], "clsuite check: something is wrong", False),
        (["check", "./none.py"], "clsuite check: no plugin file at 'none.py'", True),
        (["bench", "--seeds=x"], "clsuite bench: --seeds is 'x'", True),
        (["bench"], "clsuite bench: BENCHMARK is missing", True),
        ([], "clsuite: say what to do", True),
    ],
)
def test_a_complaint_about_arguments_names_one(
    words: list[str], text: str, named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(criterion, "main", lambda words: sys.stderr.write(f"{text}\n") and 2)
    assert (broken_promises(words, tmp_path, arguments_of(words)) == []) == named


def test_a_complaint_about_a_folder_names_what_was_changed_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    culprits = places_of([("rename", b"train/cat", b"train/new"), ("write", b"README", b"x")])
    assert culprits == ["train/cat", "train/new", "README", "train", "cat", "train", "new", "README"]
    for text, named in (("own.yaml:2: the data are wrong", False), ("'data/train/new' holds no images", True)):
        monkeypatch.setattr(
            criterion, "main", lambda words, text=text: sys.stderr.write(f"clsuite bench: {text}\n") and 2
        )
        assert (broken_promises(["bench"], tmp_path, culprits) == []) == named
