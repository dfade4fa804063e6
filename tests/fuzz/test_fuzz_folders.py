"""Image folders in which hypothesis has linked, renamed, cut, removed and added."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from criterion import broken_promises, fuzzed
from hypothesis import given
from hypothesis import strategies as some
from PIL import Image

PLACES = some.sampled_from([
    b"train", b"test", b"train/cat", b"train/dog", b"test/cat", b"train/cat/0.bmp", b"train/dog/1.bmp",
    b"test/dog/0.bmp", b"train/new", b"train/cat/x.png", b"train/.hidden", b"valid", b"class_names.txt",
    b"files.csv", b"metadata.jsonl", b"train/caf\xe9", b"train/cat/\xff.bmp", b"train/a b", b"README",
    b"Thumbs.db", b"train/cat/x.heic",
])  # fmt: skip
CONTENTS = some.one_of(
    some.binary(max_size=40),
    some.sampled_from([
        b"", b"BM", b"\x89PNG\r\n\x1a\n", b"cat\tfeline\n", b"cat\tcaf\xe9\n", b"cat\tdog\ndog\tdog\n",
        b"path,label\ntrain/cat/0.bmp,a\ntrain/dog/0.bmp,b\n", b"path,label\nnowhere.bmp,a\n", b'{"file_name": "x"}\n',
    ]),
)  # fmt: skip
TARGETS = some.sampled_from([b"..", b".", b"/nowhere", b"x.png", b"cat", b"../.."])
CHANGES = some.lists(
    some.one_of(
        some.tuples(some.just("write"), PLACES, CONTENTS),
        some.tuples(some.just("link"), PLACES, TARGETS),
        some.tuples(some.just("rename"), PLACES, PLACES),
        some.tuples(some.sampled_from(["remove", "folder", "pipe", "cut"]), PLACES, some.just(b"")),
    ),
    min_size=1,
    max_size=4,
)
Changes = Sequence[tuple[str, bytes, bytes]]


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Changes], list[str]]:
    """Plans a benchmark of an image folder with these changes; the answer is what is not as promised."""
    folder = tmp_path_factory.mktemp("folders")
    for part, number in (("train", 3), ("test", 2)):
        for shade, label in enumerate(("cat", "dog")):
            (folder / "sound" / part / label).mkdir(parents=True)
            for index in range(number):
                color = (90 * shade, 40 * index, 9 * len(part))
                Image.new("RGB", (8, 8), color).save(folder / "sound" / part / label / f"{index}.bmp")
    (folder / "own.yaml").write_text(
        yaml.safe_dump({
            "name": "own", "dataset": {"name": "image_folder", "path": "data"}, "seeds": [0],
            "scenario": {"tasks": 1}, "methods": {"ncm": "ncm"},
        })
    )  # fmt: skip

    def plan(changes: Changes) -> list[str]:
        shutil.rmtree(folder / "data", ignore_errors=True)
        shutil.copytree(folder / "sound", folder / "data")
        for change in changes:
            with suppress(OSError):  # what cannot be changed stays as it is
                _change(os.fsencode(folder / "data"), *change)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            words = ["bench", "own.yaml", "--dry-run", "--out", "out"]
            return broken_promises(words, folder, culprits_of(changes))

    return plan


def culprits_of(changes: Changes) -> list[str]:
    """What a complaint may name: the places that were changed, their names, and the names around them."""
    places = [os.fsdecode(place) for what, *two in changes for place in two[: 1 + (what == "rename")]]
    return [*places, *(part for place in places for part in place.split("/"))]


def _change(root: bytes, what: str, place: bytes, other: bytes) -> None:
    path = os.path.join(root, place)
    if what == "rename":
        os.rename(path, os.path.join(root, other))
    elif what == "remove":
        shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
    elif what == "folder":
        os.mkdir(path)
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "link":
        os.symlink(other, path)
    elif os.path.isfile(path) or (what == "write" and not os.path.lexists(path)):
        content = Path(os.fsdecode(path)).read_bytes()[:30] if what == "cut" else other
        Path(os.fsdecode(path)).write_bytes(content)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.mark.slow
@fuzzed(0.15)
@given(changes=CHANGES)
def test_folders_with_something_changed(changed: Callable[[Changes], list[str]], changes: Changes) -> None:
    assert changed(changes) == []
