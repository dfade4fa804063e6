"""The criterion of all fuzzing can fail: each promise that a call breaks is told."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import criterion
import pytest
from criterion import broken_promises


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
