"""How far modules move: names, sums and means by hand."""

from __future__ import annotations

import pytest

from clsuite.metrics.sensitivity import Move, blocks_of, by_kind, mean_sensitivity, moves_of, site_of


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("backbone.model.blocks.11.attn.qkv.weight", ("11", "attention qkv")),
        ("backbone.model.blocks.0.attn.q_bias", ("0", "attention qkv")),
        ("backbone.model.blocks.3.attn.proj.bias", ("3", "attention projection")),
        ("backbone.model.blocks.3.mlp.fc1.weight", ("3", "MLP fc1")),
        ("backbone.model.blocks.3.mlp.fc2.weight", ("3", "MLP fc2")),
        ("backbone.model.blocks.3.norm2.bias", ("3", "LayerNorms")),
        ("backbone.model.fc_norm.weight", ("", "LayerNorms")),
        ("backbone.model.norm.weight", ("", "LayerNorms")),
        ("backbone.model.patch_embed.proj.weight", ("", "patch embedding")),
        ("backbone.model.cls_token", ("", "tokens and positions")),
        ("backbone.model.pos_embed", ("", "tokens and positions")),
        ("head.groups.2.weight", ("", "head")),
        ("head.scale", ("", "head")),
        ("plugin_modules.Pet_module.parts.4_q.down", ("4", "added modules")),
        ("backbone.model.visual.transformer.resblocks.2.attn.in_proj_weight", ("2", "attention qkv")),
        ("backbone.model.transformer.resblocks.2.attn.out_proj.weight", ("text 2", "attention projection")),
        ("backbone.model.transformer.resblocks.2.mlp.c_fc.weight", ("text 2", "MLP fc1")),
        ("backbone.model.visual.ln_pre.weight", ("", "LayerNorms")),
        ("backbone.model.visual.conv1.weight", ("", "patch embedding")),
        ("backbone.model.logit_scale", ("", "others")),
    ],
)
def test_block_and_kind_of_a_parameter(name: str, site: tuple[str, str]) -> None:
    assert site_of(name) == site


def test_every_parameter_of_the_bundled_backbone_has_a_kind() -> None:
    from clsuite.backbones.spec import BackboneSpec, Weights
    from clsuite.backbones.vit import build_backbone

    backbone = build_backbone(BackboneSpec(), Weights("random"))
    kinds = {site_of(f"backbone.{name}")[1] for name, _ in backbone.named_parameters()}
    assert kinds == {
        "attention qkv",
        "attention projection",
        "MLP fc1",
        "MLP fc2",
        "LayerNorms",
        "patch embedding",
        "tokens and positions",
    }


def test_a_module_is_the_sum_of_its_parameters_and_the_mean_is_over_moments() -> None:
    first = {"blocks.0.norm1.weight": (3.0, 4), "blocks.0.norm2.bias": (1.0, 4), "head.scale": (5.0, 1)}
    second = {"blocks.0.norm1.weight": (8.0, 4), "blocks.1.mlp.fc1.weight": (6.0, 3)}
    moves = [*moves_of(first, "epochs", 0, 0), *moves_of(second, "epochs", 0, 1), *moves_of(first, "tasks", 1, 1)]
    assert moves[0] == Move("epochs", 0, 0, ("0", "LayerNorms"), 4.0, 8)
    assert moves[0].sensitivity == 0.5
    assert mean_sensitivity(moves, "epochs") == {
        ("0", "LayerNorms"): (0.5 + 2.0) / 2,
        ("", "head"): 5.0,
        ("1", "MLP fc1"): 2.0,
    }
    assert list(by_kind(moves, "epochs").items()) == [("head", 5.0), ("MLP fc1", 2.0), ("LayerNorms", 1.25)]
    assert mean_sensitivity(moves, "tasks") == {("0", "LayerNorms"): 0.5, ("", "head"): 5.0}


def test_blocks_stand_in_the_order_of_the_network() -> None:
    sites = [(block, "head") for block in ("10", "text 1", "", "2", "text 0", "0")]
    assert blocks_of(sites) == ["0", "2", "10", "text 0", "text 1", ""]
