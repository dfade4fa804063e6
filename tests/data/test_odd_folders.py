"""Image folders as people have them: links, pipes, names, files where folders are expected; one line, or they work."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from clsuite.cli.main import main
from clsuite.data.file_digests import with_digests
from clsuite.data.folder import list_folder
from clsuite.data.manifest import list_samples
from clsuite.data.readers.tree import by_synsets
from clsuite.errors import UserError

Tree = Callable[..., Path]
BENCH = {
    "name": "own", "dataset": {"name": "image_folder", "path": "data"}, "seeds": [0], "methods": {"ncm": "ncm"},
    "scenario": {"kind": "class_incremental", "tasks": 2},
}  # fmt: skip


@pytest.fixture
def data(image_tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    image_tree(name="data")
    return Path("data")


def planned(capsys: pytest.CaptureFixture[str], *words: str, path: str = "data") -> tuple[int, str]:
    dataset = {**BENCH["dataset"], "path": path}  # type: ignore[dict-item]
    Path("own.yaml").write_text(yaml.safe_dump({**BENCH, "dataset": dataset}))
    status = main(["bench", "own.yaml", "--dry-run", "--out", "out", *words])
    out, err = capsys.readouterr()
    assert not Path("out").exists()
    return status, out + err


def link(place: str, target: str) -> Callable[[], None]:
    return lambda: Path(place).symlink_to(target)


def named(place: bytes) -> Callable[[], None]:
    return lambda: os.makedirs(place)


def files_for_parts() -> None:
    for part in ("train", "test"):
        os.rename(f"data/{part}", f"elsewhere-{part}")
        Path(f"data/{part}").write_text("x")


WORKS: dict[str, Callable[[], None]] = {
    "a dangling link beside the parts": link("data/README", "/nowhere"),
    "a dangling link beside the classes": link("data/train/README", "/nowhere"),
    "a link to itself that is not an image": link("data/train/class0/loop", "loop"),
    "a link to its parent": link("data/train/class0/up", ".."),
    "a link to the whole": link("data/whole", "."),
    "a hidden folder": lambda: os.makedirs("data/train/.ipynb_checkpoints"),
    "images deeper than in a class": lambda: os.renames("data/train/class0/0.png", "data/train/class0/more/0.png"),
    "a photograph of a telephone": lambda: os.rename("data/train/class0/0.png", "data/train/class0/0.HEIC"),
}
REFUSED: dict[str, tuple[Callable[[], None], str]] = {
    "a dangling link that is an image": (link("data/train/class0/x.png", "/nowhere"), "'data/train/class0/x.png'"),
    "a link to itself that is an image": (link("data/train/class0/x.png", "x.png"), "'data/train/class0/x.png'"),
    "a class that is a link to its parent": (link("data/train/x", ".."), "class folder 'data/train/x' holds no images"),
    "a class that is not UTF-8": (named(b"data/train/caf\xe9"), r"'data/train/caf\udce9' is not UTF-8: rename it"),
    "a folder that is called like an image": (named(b"data/train/class0/x.png"), "'data/train/class0/x.png'"),
    "a pipe that is called like an image": (
        lambda: os.mkfifo("data/train/class0/x.png"),
        "'data/train/class0/x.png': it is not a regular file but a folder, a pipe, a device or of the system",
    ),
    "files where the parts are expected": (files_for_parts, "'data'"),
}


@pytest.mark.parametrize("what", WORKS)
def test_what_does_no_harm(what: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    WORKS[what]()
    status, told = planned(capsys)
    assert status == 0, told
    assert "1 run, 0 done, 1 to do" in told
    if "deeper" in what or "telephone" in what:
        assert "warning: 1 file or folder in 'data' left out, for example 'train/class0/" in told


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_named(what: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, culprit = REFUSED[what]
    change()
    status, told = planned(capsys)
    assert status == 2, told
    assert told.count("\n") == 1
    assert culprit in told


@pytest.mark.parametrize(
    ("path", "words", "told"),
    [
        ("own.yaml", [], "own.yaml"),
        ("data/train/class0/0.png", [], "0.png"),
        ("data/train/class0/0.png/x", [], "no data at 'data/train/class0/0.png/x'"),
        ("~nobody-here/x", [], "there is no home folder of 'nobody-here' for the path '~nobody-here/x'"),
        ("data", ["--data-root", "~nobody-here"], "there is no home folder of 'nobody-here'"),
        ("x" * 300, [], "is too long: a name has at most 255 bytes"),
        ("a\0b", [], "is not a path: it is empty or has a zero byte"),
        ("loop", [], "loop"),
    ],
)
def test_paths_that_lead_to_no_folder(
    path: str, words: list[str], told: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("loop").symlink_to("loop")
    status, said = planned(capsys, *words, path=path)
    assert status in (0, 2), said  # of data that are absent the runs are listed, and that they are
    assert told in said
    assert "Traceback" not in said


def test_a_file_that_vanishes_after_it_was_listed_is_named(data: Path) -> None:
    samples = list_folder(data)
    (data / samples[0].path).unlink()
    with pytest.raises(UserError, match=rf"cannot read the image 'data/{samples[0].path}': No such file"):
        with_digests(list_samples(data, samples, sorted({sample.label for sample in samples})))


def test_words_of_synsets_that_are_not_utf_8_are_named(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_bytes(b"n01443537\tcaf\xe9\n")
    with pytest.raises(UserError, match=r"words\.txt' is not UTF-8 \(byte 13\): save it in UTF-8"):
        by_synsets(["n01443537"], tmp_path)
