"""Weights in whatever wraps them, and files that hold none: one line that says what they are."""

from __future__ import annotations

import re
from collections import UserDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from clsuite.backbones.clip import build_clip
from clsuite.backbones.spec import BackboneSpec, find_weights
from clsuite.backbones.vit import build_backbone
from clsuite.errors import UserError

State = dict[str, Tensor]
BUNDLED = find_weights(BackboneSpec(), []).path
FOREIGN = re.compile(r"weights_only|state_dict for|Error\(s\)|retry|pickle|allowlist|https?:", re.IGNORECASE)


@pytest.fixture(scope="module")
def values() -> State:
    assert BUNDLED is not None
    return load_file(BUNDLED)


def built(path: Path, **spec: Any) -> Any:
    chosen = BackboneSpec(weights=str(path), **spec)
    build = build_clip if "name" in spec else build_backbone
    return build(chosen, find_weights(chosen, [Path()]))


def prefixed(values: State, prefix: str) -> State:
    return {f"{prefix}{name}": value for name, value in values.items()}


WRAPPED: dict[str, Callable[[State], Any]] = {
    "plain": lambda values: values,
    "lightning": lambda values: {"state_dict": prefixed(values, "model."), "pytorch-lightning_version": "2.5"},
    "backbone": lambda values: {"state_dict": prefixed(values, "backbone.")},
    "module": lambda values: prefixed(values, "module."),
    "compiled": lambda values: prefixed(values, "_orig_mod."),
    "compiled inside": lambda values: {"state_dict": prefixed(values, "model._orig_mod.")},
    "several": lambda values: {"state_dict": prefixed(values, "module.net.encoder.")},
    "with a head": lambda values: {"state_dict": {**prefixed(values, "encoder."), "classifier.weight": torch.ones(3)}},
    "with its own head": lambda values: {**prefixed(values, "model."), "model.head.weight": torch.ones(3, 64)},
    "a level deeper": lambda values: {"epoch": 3, "encoder": values, "optimizer": {"state": {0: torch.ones(2)}}},
    "half": lambda values: {"model": {name: value.half() for name, value in values.items()}},
    "of two the averaged": lambda values: {"model": {"x": torch.ones(1)}, "model_ema": prefixed(values, "module.")},
}


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_what_wraps_a_network_is_taken_off(wrapped: str, values: State, tmp_path: Path) -> None:
    torch.save(WRAPPED[wrapped](values), tmp_path / "w.ckpt")
    loaded = built(tmp_path / "w.ckpt").model.state_dict()
    assert loaded.keys() == values.keys()
    close = 1e-3 if wrapped == "half" else 0
    assert all(torch.allclose(loaded[name], value.float(), atol=close, rtol=close) for name, value in values.items())


def stand_in(content: bytes, name: str = "w.pth") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def saved(content: Callable[[State], Any]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        assert BUNDLED is not None
        torch.save(content(load_file(BUNDLED)), folder / "w.pth")
        return folder / "w.pth"

    return write


def cut(folder: Path) -> Path:
    path = saved(lambda values: values)(folder)
    path.write_bytes(path.read_bytes()[:5000])
    return path


def cut_safetensors(folder: Path) -> Path:
    assert BUNDLED is not None
    (folder / "w.safetensors").write_bytes(BUNDLED.read_bytes()[:5000])
    return folder / "w.safetensors"


def misnamed(folder: Path) -> Path:
    save_file({"x": torch.ones(2)}, folder / "w.pth")
    return folder / "w.pth"


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 22883512\n"
REFUSED: list[tuple[Callable[[Path], Path], str]] = [
    (stand_in(POINTER), "holds no weights: it is a Git LFS pointer of 70 bytes. Fetch what it points to with `git lfs"),
    (stand_in(POINTER, "w.safetensors"), "holds no weights: it is a Git LFS pointer"),
    (stand_in(b""), "holds no weights: it is empty"),
    (stand_in(b"\n<!DOCTYPE html><html>"), "holds no weights: it is a web page"),
    (stand_in(b"<html><body>404", "w.safetensors"), "holds no weights: it is a web page"),
    (stand_in(b"hello"), "holds no weights: it is neither of torch.save nor of safetensors (it begins with 'hello')"),
    (misnamed, "holds no weights: it is of the format safetensors. Give it a name that ends in .safetensors"),
    (stand_in(b"PK\x03\x04 zip", "w.safetensors"), "is written by torch.save, and no safetensors"),
    (cut, "it is cut, damaged, or of another format"),
    (cut_safetensors, "it is cut, damaged, or of another format"),
    (
        saved(lambda values: {"net": UserDict()}),
        "it holds other things than tensors, which are",
    ),
    (saved(lambda values: {"epoch": 3}), "it holds no tensors"),
    (saved(lambda values: [1, 2]), "it is cut, damaged, or of another format"),
    (
        saved(lambda values: {"a": dict(values), "b": dict(values)}),
        "hold several networks (a., b.): save the",
    ),
    (saved(lambda values: {"x": torch.ones(2)}), "do not fit backbone 'omniglot_vit': it misses pos_embed, "),
    (
        saved(lambda values: {**values, "lora.a": torch.ones(2)}),
        "do not fit backbone 'omniglot_vit': it has besides",
    ),
    (
        saved(lambda values: {**values, "l" * 100_000: torch.ones(2)}),
        f"do not fit backbone 'omniglot_vit': it has besides {'l' * 100}…",
    ),
    (
        saved(lambda values: {name: value.to("meta") for name, value in values.items()}),
        "are missing: only their shape was saved",
    ),
    (
        saved(lambda values: {name: value.to_sparse() for name, value in values.items()}),
        "are no plain ones, but sparse: save them as they are computed",
    ),
    (
        saved(lambda values: {name: value.long() for name, value in values.items()}),
        "are of type torch.int64, and the network's have fractions",
    ),
    (
        saved(lambda values: {name: value.to(torch.complex64) for name, value in values.items()}),
        "are of type torch.complex64, and the network's have fractions",
    ),
    (
        saved(lambda values: {**values, "blocks.0.norm1.weight": torch.ones(7)}),
        "do not fit backbone 'omniglot_vit': it has in another shape blocks.0.norm1.weight (7, not ",
    ),
]


@pytest.mark.parametrize(("write", "complaint"), REFUSED, ids=lambda one: one[:40] if isinstance(one, str) else "")
@pytest.mark.parametrize("clip", [False, True])
def test_what_is_no_weights_is_told(write: Callable[[Path], Path], complaint: str, clip: bool, tmp_path: Path) -> None:
    spec = {"name": "open_clip:clip_nano"} if clip else {}
    with pytest.raises(UserError) as caught:
        built(write(tmp_path), **spec)
    told = str(caught.value)
    assert "\n" not in told
    assert len(told) < 700
    assert not FOREIGN.search(told), told
    if not clip or not re.search("do not fit|several|are of type", complaint):
        assert complaint in told


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "clip."])
def test_prefixes_of_clip_weights(prefix: str, tmp_path: Path) -> None:
    fresh = BackboneSpec(name="open_clip:clip_nano", weights="random")
    values = build_clip(fresh, find_weights(fresh, [])).clip.state_dict()
    torch.save({"state_dict": prefixed(values, prefix)}, tmp_path / "w.ckpt")
    loaded = built(tmp_path / "w.ckpt", name="open_clip:clip_nano").clip.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in values.items())
