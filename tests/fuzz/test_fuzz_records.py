"""Records in which hypothesis has changed, added and removed values, and cut or garbled bytes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from criterion import broken_promises, fuzzed
from hypothesis import given
from hypothesis import strategies as some
from test_fuzz_yaml import VALUES, places

RECORDS = Path(__file__).parents[2] / "leaderboard" / "records" / "quickstart"
SOUND = sorted((RECORDS / "ncm").glob("*.json"))[0]
CONTENT: dict[str, Any] = json.loads(SOUND.read_text(encoding="utf-8"))
PLACES = [place for place in places(CONTENT) if place and len(place) < 4]


@some.composite
def edited(draw: some.DrawFn) -> dict[str, Any]:
    """A sound record with one or two things in it replaced, added or taken away."""
    content = copy.deepcopy(CONTENT)
    for _ in range(draw(some.integers(1, 2))):
        *above, key = draw(some.sampled_from(PLACES))
        inner: Any = content
        for part in above:
            inner = inner[part] if isinstance(inner, list | dict) and _has(inner, part) else None
        if isinstance(inner, dict):
            what = draw(some.sampled_from(["replace", "replace", "add", "remove"]))
            if what == "remove":
                inner.pop(key, None)
            else:
                inner[key if what == "replace" else draw(some.text(max_size=8))] = draw(VALUES)
        elif isinstance(inner, list) and _has(inner, key):
            inner[key] = draw(VALUES)
    return content


def _has(inner: Any, part: Any) -> bool:
    return part in inner if isinstance(inner, dict) else isinstance(part, int) and part < len(inner)


@some.composite
def garbled(draw: some.DrawFn) -> bytes:
    """The bytes of a sound record, cut, or with some of them replaced."""
    content = SOUND.read_bytes()
    start = draw(some.integers(0, len(content) - 1))
    rest = b"" if draw(some.booleans()) else content[start + draw(some.integers(0, 30)) :]
    return content[:start] + draw(some.binary(max_size=20)) + rest


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], list[str]]:
    """Reads a record with this content by every command that only reads; the answer is what is not as promised."""
    folder = tmp_path_factory.mktemp("records")
    path = folder / "record.json"

    def run(content: bytes) -> list[str]:
        path.write_bytes(content)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setenv("COLUMNS", "200")
            calls = (["show"], ["table"], ["table", "--format", "csv"], ["compare", "record.json"])
            made = [broken_promises([*words, "record.json"], folder, ["record.json"]) for words in calls]
        return [promise for broken in made for promise in broken]

    return run


@pytest.mark.slow
@fuzzed(0.12)
@given(content=edited())
def test_records_with_something_changed(read: Callable[[bytes], list[str]], content: dict[str, Any]) -> None:
    assert read(json.dumps(content, default=str).encode("utf-8", "surrogatepass")) == []


@pytest.mark.slow
@fuzzed(0.08)
@given(content=garbled())
def test_garbled_records(read: Callable[[bytes], list[str]], content: bytes) -> None:
    assert read(content) == []
