"""Ways around slow kernels: the same mathematics, the same names."""

from __future__ import annotations

import pytest
import timm
import torch

from clsuite.backbones.slow_kernels import PatchProjection, avoid_slow_kernels


@pytest.mark.parametrize("tag", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "vit_tiny_r_s16_p8_224"])
def test_features_gradients_and_names_stay(tag: str) -> None:
    torch.manual_seed(0)
    model = timm.create_model(tag, img_size=64, num_classes=0, depth=2).double().eval()
    images = torch.randn(3, 3, 64, 64, dtype=torch.float64)
    names = list(model.state_dict())
    answers = []
    for _ in range(2):
        model.zero_grad()
        features = model(images)
        features.square().sum().backward()
        answers.append((features, {name: value.grad.clone() for name, value in model.named_parameters()}))
        avoid_slow_kernels(model)
    (before, gradients), (after, gradients_after) = answers
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradients_after[name], gradient, rtol=1e-8, atol=1e-8, msg=name)
    assert list(model.state_dict()) == names
    assert not any(block.attn.fused_attn for block in model.blocks)


def test_only_patches_side_by_side_are_a_product() -> None:
    plain = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=1)
    avoid_slow_kernels(plain)
    assert type(plain.patch_embed.proj) is PatchProjection
    overlapping = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=1)
    overlapping.patch_embed.proj.stride = (8, 8)
    avoid_slow_kernels(overlapping)
    assert type(overlapping.patch_embed.proj) is torch.nn.Conv2d
