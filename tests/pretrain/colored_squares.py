"""Images of five colors with names, random weights for an image tower, and a recipe that trains on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from clsuite.pretrain.clip_spec import ClipPretrainSpec

COLORS = {"n1": "red", "n2": "lime", "n3": "blue", "n4": "white", "n5": "black"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five classes of noisy colors, their names, and random weights for the image tower."""
    random = np.random.RandomState(0)
    for wnid, color in COLORS.items():
        (tmp_path / "squares" / wnid).mkdir(parents=True)
        plain = np.asarray(Image.new("RGB", (16, 16), color)).astype(int)
        for index in range(6):
            pixels = np.clip(plain + random.randint(-30, 30, plain.shape), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "squares" / wnid / f"{index}.png")
    lines = [f"{wnid}\t{color}, {color} color\n" for wnid, color in COLORS.items()]
    (tmp_path / "squares" / "words.txt").write_text("".join(lines))
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224")
    save_file(model.state_dict(), tmp_path / "tower.safetensors")
    return tmp_path


def recipe(**changes: Any) -> ClipPretrainSpec:
    given: dict[str, Any] = {
        "kind": "clip",
        "name": "small",
        "model": "open_clip:lit_vit_tiny",
        "image_tower": "tower.safetensors",
        "images": "squares",
        "names": "words.txt",
        "image_size": 32,
        "held_out_images": 2,
        "held_out_classes": 1 + 1,
        "epochs": 12,
        "batch_size": 12,
        "probes": {"again": "squares"},
    }
    return ClipPretrainSpec.model_validate({**given, **changes})


def quiet(line: str) -> None:
    assert line
