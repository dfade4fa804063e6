"""What a backbone's images are normalized by is known without building it."""

from __future__ import annotations

import pytest

from clsuite.backbones.clip import build_clip
from clsuite.backbones.clip_spec import is_clip
from clsuite.backbones.normalization import pretrained_normalization
from clsuite.backbones.spec import BUNDLED, BackboneSpec, find_weights
from clsuite.backbones.vit import build_backbone


@pytest.mark.parametrize(
    "name",
    [BUNDLED, "vit_tiny_patch16_224.augreg_in21k_ft_in1k", "vit_tiny_patch16_224", "resnet10t", "open_clip:clip_nano",
     "open_clip:lit_vit_tiny"],
)  # fmt: skip
def test_it_is_what_the_network_is_built_with(name: str) -> None:
    spec = BackboneSpec(name=name, weights="random", image_size=32)
    weights = find_weights(spec, [])
    normalize = (build_clip(spec, weights) if is_clip(name) else build_backbone(spec, weights)).normalize
    stated = pretrained_normalization(name)
    assert stated is not None
    for key, values in stated.items():
        assert [float(value) / 255 for value in getattr(normalize, key).flatten()] == pytest.approx(values, abs=1e-6)


def test_a_tag_says_its_own() -> None:
    stated = pretrained_normalization("open_clip:ViT-B-16-SigLIP/webli")
    assert stated == {"mean": [0.5] * 3, "std": [0.5] * 3}


@pytest.mark.parametrize("name", ["hf-hub:some/body", "no_such_network", "open_clip:no-such"])
def test_of_what_is_not_known_here_nothing_is_said(name: str) -> None:
    assert pretrained_normalization(name) is None
