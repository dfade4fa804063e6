"""Backbones: the bundled one, the real ImageNet ViT-Ti, and weights that do not fit."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from clsuite.backbones.spec import BackboneSpec, Weights, bundled_card, find_weights
from clsuite.backbones.vit import build_backbone, build_model, forward_flops
from clsuite.data.digits import digits_table
from clsuite.data.folder import decode
from clsuite.data.transforms import Normalize
from clsuite.errors import UserError
from clsuite.pretrain.digits_probe import class_mean_accuracy

VIT_TINY = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"


@pytest.mark.slow
def test_bundled_backbone_knows_handwriting_and_its_card_is_true() -> None:
    weights = find_weights(BackboneSpec(), [])
    model = build_model(BackboneSpec(), weights, num_classes=0)
    card = bundled_card()
    assert weights.path is not None
    assert weights.path.stat().st_size <= 4_000_000
    assert hashlib.sha256(weights.path.read_bytes()).hexdigest() == card["sha256"]
    assert sum(parameter.numel() for parameter in model.parameters()) == card["parameters"] < 1_500_000
    accuracy = class_mean_accuracy(model)
    assert accuracy >= 0.93
    assert accuracy == pytest.approx(card["digits_class_mean_accuracy"], abs=0.004)


@pytest.mark.slow
def test_bundled_backbone_beats_raw_pixels_and_random_weights() -> None:
    table = digits_table(32)
    pixels = table.images.reshape(len(table), -1).astype(np.float64)
    means = np.stack([pixels[(table.labels == label) & ~table.is_test].mean(axis=0) for label in range(10)])
    scores = pixels[table.is_test] @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
    raw = (scores.argmax(axis=1) == table.labels[table.is_test]).mean()
    torch.manual_seed(0)
    random = class_mean_accuracy(build_model(BackboneSpec(), Weights("random"), num_classes=0))
    bundled = class_mean_accuracy(build_model(BackboneSpec(), find_weights(BackboneSpec(), []), num_classes=0))
    assert bundled > raw + 0.03 > random + 0.03


def test_position_embedding_is_resampled_for_other_sizes() -> None:
    spec = BackboneSpec(image_size=48)
    backbone = build_backbone(spec, find_weights(spec, []))
    assert backbone(torch.zeros(2, 3, 48, 48)).shape == (2, backbone.width)


def test_flops_of_a_known_layer_count() -> None:
    backbone = build_backbone(BackboneSpec(), find_weights(BackboneSpec(), []))
    tokens, width = 16, 192
    linear = 2 * tokens * width * (8 * 8 * 3 + 2 * 12 * width)
    attention = 2 * 2 * 2 * tokens * tokens * width
    assert forward_flops(backbone, 32) == linear + attention


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("vit_tiny_patch16_223", 224, "unknown backbone 'vit_tiny_patch16_223'. Did you mean 'vit_tiny_patch16_224"),
        ("vit_tiny_patch16_224.augreg_in21k_ft_in2k", 224, "Did you mean 'vit_tiny_patch16_224.augreg_in21k_ft_in1k'"),
        ("convnext_atto", 224, "is a ConvNeXt, not a ViT|cannot build"),
        ("resnet50_clip", 224, "is a ByobNet, not a ViT and not a plain ResNet"),
        ("vit_tiny_patch16_224", 100, "not a multiple of the patch size 16|cannot build"),
    ],
)
def test_what_cannot_be_built_is_named(name: str, size: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_backbone(BackboneSpec(name=name, image_size=size), Weights("random"))


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    path = find_weights(BackboneSpec(), []).path
    assert path is not None
    state = load_file(path)
    del state["blocks.1.attn.qkv.weight"]
    save_file(state, tmp_path / "cut.safetensors")
    with pytest.raises(UserError, match=r"do not fit backbone 'omniglot_vit'.*blocks.1.attn.qkv.weight"):
        build_backbone(BackboneSpec(), Weights("file", tmp_path / "cut.safetensors"))
    (tmp_path / "half.safetensors").write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot read the weights"):
        build_backbone(BackboneSpec(), Weights("file", tmp_path / "half.safetensors"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"weights": "nowhere.safetensors"}, "no weights at .*nowhere.safetensors.*--data-root"),
        ({"weights": "hub"}, "is not on any hub"),
        ({"name": VIT_TINY, "weights": "bundled"}, "is not bundled"),
    ],
)
def test_weights_that_are_not_there(spec: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        find_weights(BackboneSpec(**spec), [tmp_path])


WHOLE = [pytest.param(size, 1, measured, marks=pytest.mark.nightly) for size, measured in ((128, 0.587), (224, 0.793))]


@pytest.mark.slow
@pytest.mark.parametrize(("size", "every", "measured"), [(128, 2, 0.604), *WHOLE])
def test_imagenet_vit_tiny_scores_what_it_should(size: int, every: int, measured: float, real_data: Path) -> None:
    """The real weights load strictly, head included, and score as measured with timm on the 1,000-image probe.

    Or on the images of every second class of it, with answers among all classes.
    """
    spec = BackboneSpec(name=VIT_TINY, weights=f"{VIT_TINY}.safetensors", image_size=size)
    model = build_model(spec, find_weights(spec, [real_data]), num_classes=1000).eval()
    probe = real_data / "imagenet_probe"
    names = (probe / "classes.txt").read_text(encoding="utf-8").split("\n")
    wnids = [line.split()[0] for line in names if line.strip()]
    images = np.stack([decode(next((probe / wnid).glob("*.webp")), size) for wnid in wnids[::every]])
    normalize = Normalize((0.5,) * 3, (0.5,) * 3)
    with torch.inference_mode():
        logits = torch.cat([model(normalize(torch.from_numpy(part))) for part in np.array_split(images, 20)])
    accuracy = float((logits.argmax(dim=1) == torch.arange(0, 1000, every)).float().mean())
    assert accuracy == pytest.approx(measured, abs=0.01)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    good = find_weights(BackboneSpec(), [])
    assert good.path is not None
    state = load_file(good.path)
    name = "blocks.0.mlp.fc1.weight"
    state[name][3, 5] = value
    save_file(state, tmp_path / "w.safetensors")
    message = rf"the weights file '.*w\.safetensors' holds NaN or infinite values, in '{name}'"
    with pytest.raises(UserError, match=message):
        build_backbone(BackboneSpec(), Weights("file", tmp_path / "w.safetensors", "0" * 64))
