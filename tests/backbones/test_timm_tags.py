"""Tags of timm's ViTs: each builds with features of its width, takes weights at other image sizes, or is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models._registry import _model_to_module
from torch import Tensor

from clsuite.backbones import vit
from clsuite.backbones.families import is_resnet
from clsuite.backbones.spec import BackboneSpec, Weights
from clsuite.backbones.vit import Backbone, build_backbone
from clsuite.errors import UserError
from clsuite.peft import build_pet, transformer_blocks

SMALL: dict[str, Any] = {"embed_dim": 48, "depth": 2, "num_heads": 3}
TAGS = {
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k": 16,
    "vit_small_patch16_224.dino": 16,
    "vit_base_patch16_224.mae": 16,
    "vit_small_patch14_dinov2.lvd142m": 14,
    "vit_small_patch14_reg4_dinov2.lvd142m": 14,
    "vit_small_patch16_dinov3.lvd1689m": 16,
    "deit3_small_patch16_224.fb_in22k_ft_in1k": 16,
    "deit_tiny_distilled_patch16_224.fb_in1k": 16,
    "vit_base_patch16_clip_224.openai": 16,
    "vit_base_patch16_siglip_224.webli": 16,
    "eva_large_patch14_196.in22k_ft_in1k": 14,
    "eva_giant_patch14_224.clip_ft_in1k": 14,
    "eva02_tiny_patch14_224.mim_in22k": 14,
    "eva02_base_patch14_224.mim_in22k": 14,
    "beitv2_base_patch16_224.in1k_ft_in22k": 16,
    "vit_small_patch16_rope_224.naver_in1k": 16,
    "vit_pe_core_tiny_patch16_384.fb": 16,
    "flexivit_small.1200ep_in1k": 16,
    "vit_tiny_r_s16_p8_224.augreg_in21k": 32,
}
REFUSED = {
    "vit_relpos_small_patch16_224": "is a VisionTransformerRelPos, not a ViT and not a plain ResNet",
    "samvit_base_patch16_224": "is a VisionTransformerSAM, not a ViT",
    "swin_tiny_patch4_window7_224": "is a SwinTransformer, not a ViT|cannot build",
    "convnextv2_atto": "is a ConvNeXt, not a ViT|cannot build",
    "naflexvit_base_patch16_gap": "is a NaFlexVit, not a ViT|cannot build",
}
OTHER_BLOCKS = ("vit_base_patch16_18x2_224", "vit_base_patch16_xp_224")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of two narrow blocks, built by the same code as whole ones."""
    monkeypatch.setattr(vit, "_architecture", lambda spec: (spec.name, dict(SMALL)))


def small(name: str, size: int, weights: Weights | None = None) -> Backbone:
    torch.manual_seed(0)
    return build_backbone(BackboneSpec(name=name, image_size=size), weights or Weights("random")).eval()


@pytest.mark.parametrize("name", TAGS)
def test_a_tag_gives_features_and_takes_its_weights_at_another_size(name: str, tmp_path: Path) -> None:
    side = TAGS[name]
    torch.manual_seed(1)
    theirs: Any = timm.create_model(name, img_size=4 * side, num_classes=7, **SMALL).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    path = tmp_path / "weights.safetensors"
    save_file({key: value.contiguous() for key, value in theirs.state_dict().items()}, path)
    found = Weights("file", path)
    same, larger = small(name, 4 * side, found), small(name, 6 * side, found)
    images = torch.randn(2, 3, 4 * side, 4 * side, generator=generator)
    with torch.no_grad():
        expected = theirs.forward_head(theirs.forward_features(images), pre_logits=True)
        torch.testing.assert_close(same(images), expected, rtol=1e-4, atol=1e-5)
        assert larger(torch.zeros(1, 3, 6 * side, 6 * side)).shape == (1, same.width)
    theirs_norm = theirs.state_dict().get("norm.weight")
    if theirs_norm is not None:
        assert torch.equal(larger.state_dict()["model.norm.weight"], theirs_norm)


@pytest.mark.parametrize("name", TAGS)
def test_the_attention_of_a_tag_is_found_by_structure(name: str) -> None:
    side = TAGS[name]
    backbone, images = small(name, 4 * side), torch.randn(2, 3, 4 * side, 4 * side)
    blocks = transformer_blocks(backbone.model)
    assert len(blocks) == 2
    assert [(block.attn.qkv.in_features, block.attn.qkv.out_features) for block in blocks] == [(48, 144)] * 2
    module = build_pet("lora", backbone.model, size=2, blocks="all", generator=torch.Generator(), targets="q+k+v")
    with torch.no_grad():
        for value in (*backbone.parameters(), *module.parameters()):  # new scales of layers would hide their answer
            value.normal_(0, 0.3, generator=torch.Generator().manual_seed(3))
        plain = backbone(images)
        module.attach(backbone.model)
        assert not torch.allclose(backbone(images), plain, rtol=1e-3, atol=1e-5)
        module.detach_from_model()
        torch.testing.assert_close(backbone(images), plain)


@pytest.mark.parametrize("name", REFUSED)
def test_others_are_refused_by_their_kind(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vit, "_architecture", lambda spec: (spec.name, {}))
    with torch.device("meta"), pytest.raises(UserError, match=REFUSED[name]):
        build_backbone(BackboneSpec(name=name, image_size=224), Weights("random"))


@pytest.mark.parametrize("name", OTHER_BLOCKS)
def test_blocks_of_another_structure_give_features_but_take_no_modules(name: str) -> None:
    backbone = small(name, 64)
    assert backbone(torch.zeros(1, 3, 64, 64)).shape == (1, 48)
    with pytest.raises(UserError, match="has no transformer blocks with an attention and an MLP"):
        build_pet("lora", backbone.model, size=2, blocks="all", generator=torch.Generator())


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "eva02_tiny_patch14_224"])
def test_an_image_size_that_the_patches_do_not_divide(name: str) -> None:
    with pytest.raises(UserError, match=r"backbone.image_size 64 is not a multiple of the patch size 14|cannot build"):
        small(name, 64)


def _features_on_meta(name: str) -> Tensor:
    side = int(found.group(1)) if (found := re.search(r"patch(\d+)", name)) else 16
    size = 64 if is_resnet(name) else 4 * side
    with torch.device("meta"):
        backbone = build_backbone(BackboneSpec(name=name, image_size=size), Weights("random"))
    backbone.to("meta").eval()
    with torch.no_grad():
        features: Tensor = backbone(torch.zeros(2, 3, size, size, device="meta"))
    assert features.shape == (2, backbone.width)
    return features


@pytest.mark.nightly
def test_every_model_of_these_families_gives_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole models, without memory for their weights."""
    monkeypatch.setattr(vit, "_architecture", lambda spec: (spec.name, {}))
    families = ("vision_transformer", "vision_transformer_hybrid", "deit", "eva", "beit")
    families += ("resnet", "sknet", "resnest", "res2net")
    names = [name for name in timm.list_models() if _model_to_module[name] in families]
    assert len(names) > 300
    for name in names:
        _features_on_meta(name)
