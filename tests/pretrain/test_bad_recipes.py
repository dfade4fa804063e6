"""Recipes and archives that are none: one line each, and nothing is written."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from clsuite.cli.main import main
from clsuite.pretrain.drawings import read_drawings

RECIPE = {
    "name": "own", "archives": ["a.zip"], "architecture": "vit_tiny_patch16_224", "teacher": "t.safetensors",
    "arguments": {"img_size": 32, "patch_size": 4, "depth": 1},
}  # fmt: skip


def drawing() -> bytes:
    content = io.BytesIO()
    Image.new("1", (105, 105), 1).save(content, "PNG")
    return content.getvalue()


def archive(path: Path, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w") as opened:
        for name, content in members.items():
            opened.writestr(f"images/alphabet/{name}.png" if name != "readme" else name, content)


def huge() -> bytes:
    """A picture whose header says 100,000 x 100,000 pixels."""
    content = bytearray(drawing())
    content[16:24] = (100_000).to_bytes(4, "big") * 2
    return bytes(content)


def cut(path: Path) -> None:
    archive(path, one=drawing())
    content = path.read_bytes()
    path.write_bytes(content[:60] + b"\xff" * 20 + content[80:])


@pytest.mark.parametrize(
    ("write", "complaint"),
    [
        (lambda path: path.write_bytes(b"no zip"), "cannot read the drawings in 'a.zip': File is not a zip file"),
        (lambda path: archive(path, readme=b"x"), "there are no drawings (.png) in 'a.zip'"),
        (lambda path: archive(path, one=b"no picture"), "cannot read the drawings in 'images/alphabet/one.png' of 'a."),
        (lambda path: archive(path, one=huge()), "cannot read the drawings in 'images/alphabet/one.png' of 'a.zip'"),
        (lambda path: archive(path, one=bytes(1 << 25)), "it is unpacked to 33554432 bytes, and drawings have some"),
        (cut, "cannot read the drawings in "),
    ],
)  # fmt: skip
def test_damaged_archives(
    write: Callable[[Path], None],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("a.zip"))
    save_file({"x": torch.ones(1)}, "t.safetensors")
    Path("own.yaml").write_text(yaml.safe_dump(RECIPE))
    assert main(["pretrain", "own.yaml", "--out", "out"]) == 2
    told = capsys.readouterr().err
    assert complaint in told
    assert told.count("\n") == 1
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"architecture": "vit_tinny"}, "cannot build the architecture 'vit_tinny' with"),
        ({"arguments": {"depht": 1}}, "cannot build the architecture 'vit_tiny_patch16_224' with"),
        ({"teacher": "page.safetensors"}, "the file 'page.safetensors' holds no weights: it is a web page"),
        ({}, "the weights 't.safetensors' do not fit architecture 'vit_tiny_patch16_224': it misses "),
        ({"name": None}, "own.yaml:6: name is empty, but must be text"),
        ({"kind": "drawing"}, "unknown kind of recipe in 'own.yaml': 'drawing'. Did you mean 'drawings'?"),
        ({"epoch": 3}, "own.yaml:10: unknown key 'epoch'. Did you mean 'epochs'?"),
    ],
)
def test_recipes_that_cannot_be(
    changes: dict[str, object],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    archive(Path("a.zip"), one=drawing(), two=drawing())
    save_file({"pos_embed": torch.ones(1, 3, 3)}, "t.safetensors")
    Path("page.safetensors").write_text("<html>")
    recipe = {**RECIPE, **changes}
    Path("own.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["pretrain", "own.yaml", "--out", "out"]) == 2
    told = capsys.readouterr().err
    assert without_lines(complaint) in without_lines(told)
    assert told.count("\n") == 1
    assert not Path("out").exists()


def without_lines(text: str) -> str:
    """Without the numbers of lines, which follow from how the file is written."""
    head, _, tail = text.partition("own.yaml:")
    return head + tail.lstrip("0123456789") if tail else text


def test_sound_archives_are_read(tmp_path: Path) -> None:
    archive(tmp_path / "a.zip", one=drawing())
    ink, names = read_drawings([tmp_path / "a.zip"], 16)
    assert ink.shape == (1, 16, 16)
    assert names == ["images/alphabet"]


def test_lists_in_other_encodings_are_named(tmp_path: Path) -> None:
    from clsuite.data.readers.archives import read_table
    from clsuite.errors import UserError

    (tmp_path / "list.txt").write_bytes(b"caf\xe9 1\n")
    with pytest.raises(UserError, match=r"list\.txt' is not UTF-8 \(byte 3\): save it in UTF-8"):
        read_table(tmp_path / "list.txt", 2)


@pytest.mark.parametrize("seed", [-1, 2**32, 2**63])
def test_a_seed_that_no_generator_takes(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text(yaml.safe_dump({**RECIPE, "seed": seed}))
    assert main(["pretrain", "own.yaml"]) == 2
    assert f": seed is {seed}, but must be at " in capsys.readouterr().err


def test_a_place_that_was_looked_at_twice_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text(yaml.safe_dump(RECIPE))
    assert main(["pretrain", "own.yaml", "--data-root", "."]) == 2
    assert capsys.readouterr().err.count("'a.zip'") == 1
