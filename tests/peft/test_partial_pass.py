"""Passes through a part of the blocks."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from clsuite.backbones.vit import Backbone
from clsuite.peft import LoRA, first_blocks_once, left_after
from clsuite.peft.blocks import block_list

NETWORKS: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {"embed_dim": 32, "depth": 3, "num_heads": 2},
    "eva02_tiny_patch14_224": {"embed_dim": 64, "depth": 3, "num_heads": 2},
    "beit_base_patch16_224": {"embed_dim": 32, "depth": 3, "num_heads": 2},
}
"""The class token alone, rotary positions, biases of attention."""


def network(name: str) -> Backbone:
    torch.manual_seed(0)
    size = {"eva02_tiny_patch14_224": 28}.get(name, 32)
    model = timm.create_model(name, img_size=size, num_classes=0, **NETWORKS[name])
    return Backbone(model, (0.5,) * 3, (0.5,) * 3).eval()


def images_for(name: str) -> Tensor:
    return torch.randn(2, 3, *[28 if "14" in name else 32] * 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_left_after_some_blocks(name: str) -> None:
    backbone, images = network(name), images_for(name)
    whole = backbone(images)
    seen: list[Tensor] = []
    blocks = backbone.model.blocks
    handles = [blocks[1].register_forward_hook(lambda module, inputs, output: seen.append(output))]
    handles += [blocks[2].mlp.register_forward_hook(lambda *_: pytest.fail("the last block was computed"))]
    with left_after(backbone.model, 2):
        early = backbone(images)
    for handle in handles:
        handle.remove()
    expected = backbone.model.forward_head(backbone.model.norm(seen[0]), pre_logits=True)
    torch.testing.assert_close(early, expected)
    assert torch.equal(backbone(images), whole)
    assert all("forward" not in vars(block) for block in blocks)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_first_blocks_are_computed_once(name: str) -> None:
    backbone, images = network(name), images_for(name)
    modules = [LoRA(backbone.model, [2], 2, torch.Generator().manual_seed(number)) for number in range(2)]
    for module in modules:
        nn.init.ones_(module.parts["2_v"].up)  # type: ignore[arg-type]
        module.attach(backbone.model)
        module.enabled = False

    def answers() -> list[Tensor]:
        found = []
        for module in modules:
            with module.switched(True):
                found.append(backbone(images))
        return found

    expected, counted = answers(), [0, 0, 0]
    handles = []
    for place, block in enumerate(backbone.model.blocks):

        def count(*_: Any, place: int = place) -> None:
            counted[place] += 1

        handles.append(block.mlp.register_forward_hook(count))
    with first_blocks_once(backbone.model, 2):
        found = answers()
    assert counted == [1, 1, 2]
    for handle in handles:
        handle.remove()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert not torch.allclose(expected[0], expected[1], atol=1e-4)


def test_the_blocks_are_put_back_after_an_error() -> None:
    backbone = network("vit_tiny_patch16_224")
    with pytest.raises(ValueError, match="stop"), left_after(backbone.model, 1):
        raise ValueError("stop")
    parent, name = block_list(backbone.model)
    assert all("forward" not in vars(block) for block in getattr(parent, name))
