"""A link to what never ends or makes wait is refused in a line, wherever a file of somebody's is read."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
import yaml
from PIL import Image

from clsuite.cli.main import main
from clsuite.errors import UserError
from clsuite.plugin.catalog import find_plugin, load_class
from clsuite.regular_files import is_no_folder, open_regular, read_bytes, read_text
from clsuite.stream.sealed_state import DamagedStateError, read_state

PATIENCE = 60
"""Seconds after which a test that waits fails."""
RECORDS = Path(__file__).parents[1] / "leaderboard" / "records" / "quickstart" / "ncm"
PLUGIN = """
if True:
    import helper_of_nobody
from clsuite.plugin import Plugin


class Mine(Plugin):
    def loss(self, learner, step): ...
"""


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link_to_a_pipe(path: Path) -> None:
    os.mkfifo(path.with_name(f"{path.name}.pipe"))
    path.symlink_to(path.with_name(f"{path.name}.pipe"))


def link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


OF_THE_SYSTEM = ("/dev/zero", "/proc/kmsg", "/proc/kcore", "/proc/self/mem")
KINDS = {
    "pipe": pipe,
    "link to a pipe": link_to_a_pipe,
    **{target: link_to(target) for target in OF_THE_SYSTEM if os.path.exists(target)},
}


@pytest.fixture(params=KINDS)
def put(request: pytest.FixtureRequest) -> Iterator[Callable[[Path], Path]]:
    """Puts what is not a regular file in a place; a test that waits for it fails."""

    def late(number: int, _: FrameType | None) -> None:
        raise TimeoutError("it waits")

    def do(path: Path) -> Path:
        path.unlink(missing_ok=True)
        KINDS[request.param](path)
        return path

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(PATIENCE)
    yield do
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


Put = Callable[[Path], Path]


@pytest.mark.parametrize("read", [open_regular, read_bytes, read_text])
def test_it_is_refused_before_anything_of_it_is_read(put: Put, read: Callable[[Path], object], tmp_path: Path) -> None:
    path = put(tmp_path / "file")
    assert is_no_folder(path)
    with pytest.raises(OSError, match="not a regular file"):
        read(path)


def test_what_is_a_file_is_read_and_a_folder_is_told_as_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    (tmp_path / "link").symlink_to("a")
    assert read_text(tmp_path / "link", "utf-8-sig") == "one\ntwo\nthree\n"
    with open_regular(tmp_path / "link") as opened:
        assert os.get_blocking(opened.fileno()) or opened.read(3) == b"\xef\xbb\xbf"
    for path, kind in ((tmp_path, IsADirectoryError), (tmp_path / "none", FileNotFoundError)):
        assert not is_no_folder(path)
        with pytest.raises(kind):
            read_bytes(path)


def test_a_socket_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        with pytest.raises(OSError, match="not a regular file"):
            read_bytes("socket")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def images(folder: Path) -> None:
    for part in ("train", "test"):
        for name in ("a", "b"):
            (folder / part / name).mkdir(parents=True)
            for number in range(2):
                pixels = np.full((8, 8, 3), number, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")


def benchmark(place: Path, **changes: object) -> list[str]:
    spec = {"name": "tiny", "dataset": {"name": "digits"}, "scenario": {"tasks": 2}, "seeds": [0],
            "methods": {"ncm": "ncm"}, **changes}  # fmt: skip
    (place / "tiny.yaml").write_text(yaml.safe_dump(spec))
    return ["bench", "tiny.yaml", "--dry-run"]


def a_benchmark(place: Path, put: Put) -> list[str]:
    put(place / "tiny.yaml")
    return ["bench", "tiny.yaml", "--dry-run"]


def a_plugin(place: Path, put: Put) -> list[str]:
    put(place / "mine.py")
    return ["bench", "quickstart", "--methods", "./mine.py", "--dry-run"]


def a_stream(place: Path, put: Put) -> list[str]:
    put(place / "stream.py")
    return ["bench", "stream.py", "--dry-run"]


def weights(place: Path, put: Put) -> list[str]:
    put(place / "w.safetensors")
    return benchmark(place, backbone={"name": "vit_tiny_patch16_224", "weights": "w.safetensors"})


def an_image(place: Path, put: Put) -> list[str]:
    images(place / "own")
    put(place / "own/train/a/0.png")
    return benchmark(place, dataset={"name": "image_folder", "path": "own"})


def class_names(place: Path, put: Put) -> list[str]:
    (place / "list.csv").write_text("path,label\n")
    put(place / "list.csv")
    return benchmark(place, dataset={"name": "image_folder", "path": "list.csv"})


def a_probe_image(place: Path, put: Put) -> list[str]:
    images(place / "own")
    put(place / "own/train/a/0.png")
    return benchmark(place, probes=[{"kind": "knn", "path": "own/train", "index": 1, "queries": 1}])


def a_record(place: Path, put: Put) -> list[str]:
    put(place / "record.json")
    return ["show", "record.json"]


def a_record_in_a_folder(place: Path, put: Put) -> list[str]:
    (place / "runs").mkdir()
    put(place / "runs/record.json")
    return ["table", "runs"]


def predictions(place: Path, put: Put) -> list[str]:
    record = next(path for path in sorted(RECORDS.glob("*.json")) if not path.name.endswith(".rerun.json"))
    content = {**json.loads(record.read_text()), "predictions": "record.npz"}
    (place / "record.json").write_text(json.dumps(content))
    put(place / "record.npz")
    return ["table", "record.json"]


def an_index(place: Path, put: Put) -> list[str]:
    (place / "board/records").mkdir(parents=True)
    put(place / "board/rows.json")
    return ["leaderboard", "check", "--folder", "board"]


PLACES = [a_benchmark, a_plugin, a_stream, weights, an_image, class_names, a_probe_image, a_record,
          a_record_in_a_folder, predictions, an_index]  # fmt: skip


@pytest.mark.parametrize("make", PLACES, ids=[make.__name__ for make in PLACES])
def test_it_is_told_in_a_line_by_every_command(
    make: Callable[[Path, Put], list[str]], place: Path, put: Put, capsys: pytest.CaptureFixture[str]
) -> None:
    words = make(place, put)
    assert main(words) in (1, 2)
    said = capsys.readouterr().err
    assert "not a regular file" in said
    assert len(said.splitlines()) <= 2


def test_a_record_that_is_none_is_refused_and_the_others_are_judged(
    place: Path, put: Put, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(RECORDS, place / "runs")
    put(place / "runs/zero.json")
    main(["leaderboard", "add", "runs", "--folder", "board"])
    said = capsys.readouterr()
    assert "not a regular file" in said.err
    assert said.out + said.err


def test_a_helper_of_a_plugin_that_is_none_is_not_read(place: Path, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(place)
    (place / "mine.py").write_text(PLUGIN)
    put(place / "helper_of_nobody.py")
    info, source = find_plugin("./mine.py")
    assert source.sha256
    with pytest.raises(UserError, match="fails to import"):
        load_class(info)
    assert "helper_of_nobody" not in sys.modules


def test_a_state_that_is_none_is_damaged(place: Path, put: Put) -> None:
    with pytest.raises(DamagedStateError, match="not a regular file"):
        read_state(put(place / "model.pt"))
