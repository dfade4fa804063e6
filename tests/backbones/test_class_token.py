"""The class token's features without the rest of the last block: equal to timm's, and aside where they could not be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from clsuite.backbones import vit
from clsuite.backbones.class_token import class_token_features, only_class_token_counts
from clsuite.backbones.slow_kernels import avoid_slow_kernels
from clsuite.backbones.vit import Backbone

SHAPE: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3, "num_classes": 0}


def make_vit(**changes: Any) -> VisionTransformer:
    """A small ViT with random weights everywhere, biases and scales too."""
    torch.manual_seed(0)
    model = VisionTransformer(**{**SHAPE, **changes})
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0.3, 0.3)
    return model


def images() -> Tensor:
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.get_default_dtype())


@pytest.fixture(autouse=True)
def _in_float64() -> Iterator[None]:
    """Twice as many digits: what differs then is not a rounding."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def plain(model: VisionTransformer) -> Tensor:
    return model.forward_head(model.forward_features(images()), pre_logits=True)


def gradients(model: VisionTransformer, features: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(2))
    torch.autograd.backward((features * weights).sum())
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_equal_ways(model: VisionTransformer) -> None:
    assert only_class_token_counts(model)
    for mode in (True, False):
        model.train(mode)
        torch.manual_seed(5)
        expected = plain(model)
        torch.manual_seed(5)
        actual = class_token_features(model, images())
        torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-8)
        theirs, ours = gradients(model, expected), gradients(model, actual)
        assert theirs.keys() == ours.keys()
        for name, gradient in theirs.items():
            torch.testing.assert_close(ours[name], gradient, rtol=1e-8, atol=1e-8, msg=name)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"qk_norm": True},
        {"init_values": 0.1},
        {"reg_tokens": 2},
        {"qkv_bias": False, "proj_bias": False},
        {"drop_path_rate": 0.5},
        {"pre_norm": True, "scale_attn_norm": True, "scale_mlp_norm": True},
        {"no_embed_class": True, "final_norm": False},
        {"depth": 1},
    ],
    ids=str,
)
def test_features_and_gradients_are_those_of_timm(changes: dict[str, Any]) -> None:
    assert_equal_ways(make_vit(**changes))


@pytest.mark.parametrize("tag", ["vit_tiny_patch16_224", "deit3_small_patch16_224", "vit_base_patch32_clip_224"])
def test_models_of_timm(tag: str) -> None:
    torch.manual_seed(0)
    model = timm.create_model(tag, img_size=32, num_classes=0, depth=2).eval()
    assert only_class_token_counts(model)
    torch.testing.assert_close(class_token_features(model, images()), plain(model), rtol=1e-8, atol=1e-8)
    given = images().float()
    expected = model.float().forward_head(model.forward_features(given), pre_logits=True)
    torch.testing.assert_close(class_token_features(model, given), expected, rtol=1e-5, atol=1e-5)


def test_plain_products_are_timms_too() -> None:
    model = make_vit()
    fused = plain(model)
    avoid_slow_kernels(model)
    assert not any(block.attn.fused_attn for block in model.blocks)
    assert_equal_ways(model)
    torch.testing.assert_close(plain(model), fused, rtol=1e-8, atol=1e-8)


class LoRA(nn.Module):
    """A linear layer beside a product of two small ones."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear
        self.down, self.up = nn.Linear(linear.in_features, 2), nn.Linear(2, linear.out_features)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.linear(tokens) + self.up(self.down(tokens))


def test_layers_that_were_replaced_are_called() -> None:
    model = make_vit()
    last = model.blocks[-1]
    last.attn.qkv, last.attn.proj = LoRA(last.attn.qkv), LoRA(last.attn.proj)
    last.mlp.fc1 = LoRA(last.mlp.fc1)
    assert_equal_ways(model)


class OtherAttention(nn.Module):
    """Not timm's."""

    def forward(self, tokens: Tensor, **_: Any) -> Tensor:
        return tokens.flip(1)


def hook_somewhere(model: VisionTransformer, where: str) -> None:
    model.get_submodule(where).register_forward_hook(lambda module, given, output: output * 2)


Change = Callable[[VisionTransformer], Any]
ASIDE: dict[str, Change] = {
    "a hook on the block": lambda model: hook_somewhere(model, "blocks.2"),
    "a hook inside of it": lambda model: hook_somewhere(model, "blocks.2.mlp.fc2"),
    "a hook on all blocks": lambda model: hook_somewhere(model, "blocks"),
    "a hook on the last norm": lambda model: hook_somewhere(model, "norm"),
    "a hook on the input": lambda model: model.blocks[2].register_forward_pre_hook(lambda _, given: (given[0] * 2,)),
    "another attention": lambda model: setattr(model.blocks[2], "attn", OtherAttention()),
    "another block": lambda model: model.blocks.append(nn.Identity()),
    "another forward": lambda model: setattr(model.blocks[2].attn, "forward", lambda tokens, **_: tokens.flip(1)),
    "other features": lambda model: setattr(model, "forward_features", lambda given: torch.ones(4, 17, 24)),
    "checkpointing": lambda model: model.set_grad_checkpointing(),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(ASIDE))
def test_it_steps_aside(name: str) -> None:
    model = make_vit()
    ASIDE[name](model)
    assert not only_class_token_counts(model)
    backbone = Backbone(model, (0.5,) * 3, (0.5,) * 3)
    assert torch.equal(backbone(images()), plain(model))


@pytest.mark.parametrize("pool", ["avg", "map", ""])
def test_other_poolings_need_all_tokens(pool: str) -> None:
    assert not only_class_token_counts(make_vit(global_pool=pool, class_token=pool == ""))


def test_hooks_of_earlier_blocks_are_called() -> None:
    model = make_vit()
    hook_somewhere(model, "blocks.1")
    assert_equal_ways(model)


def test_distilled_models_go_timms_way() -> None:
    model = timm.create_model("deit_tiny_distilled_patch16_224", img_size=32, num_classes=0, depth=2)
    assert not only_class_token_counts(model)


def test_the_backbone_takes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    marked = torch.full((4, 24), 3.0)
    monkeypatch.setattr(vit, "class_token_features", lambda model, given: marked)
    assert Backbone(make_vit(), (0.5,) * 3, (0.5,) * 3)(images()) is marked
