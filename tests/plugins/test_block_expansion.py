"""Block expansion on other makes of blocks: an identity at the start, or refused in one line."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch

from clsuite.errors import UserError
from clsuite.plugin.catalog import find_plugin
from clsuite.plugin.compatibility import check_method
from clsuite_plugins.block_expansion import BlockExpansion, identity_copy

SMALL: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 0}
MAKES = {
    "post_norm": "vit_base_patch16_rpn_224",
    "beit": "beitv2_base_patch16_224",
    "eva_rope": "eva02_tiny_patch14_224",
    "eva_post_norm": "eva_giant_patch14_224",
    "distilled": "deit_tiny_distilled_patch16_224",
}
PARALLEL = ("vit_base_patch16_xp_224", "vit_small_patch16_18x2_224", "vit_dpwee_patch16_reg1_gap_256")


def started(name: str, **more: Any) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """A network as after pre-training with its copies put in, and what it computed before and computes then."""
    torch.manual_seed(0)
    sizes = {**SMALL, **({"use_post_norm": True} if name == "eva_post_norm" else {}), **more}
    model: Any = timm.create_model(MAKES.get(name, name), **sizes).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    images = torch.randn(3, 3, 32, 32)
    before = model(images).detach()
    backbone: Any = torch.nn.Module()
    backbone.model = model
    backbone.forward = lambda given: model(given)
    backbone.normalize = lambda given: given.float() / 255
    table = SimpleNamespace(images=np.zeros((0, 3, 32, 32), dtype=np.uint8))
    learner: Any = SimpleNamespace(backbone=backbone, device=torch.device("cpu"))
    BlockExpansion(1).on_stream_start(learner, SimpleNamespace(table=table))  # type: ignore[arg-type]
    return model, before, model(images).detach()


@pytest.mark.parametrize("name", MAKES)
def test_the_network_computes_what_it_did_and_the_copy_can_learn(name: str) -> None:
    model, before, after = started(name)
    assert len(model.blocks) == 3
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)
    model(torch.randn(3, 3, 32, 32)).square().sum().backward()
    assert any(value.grad is not None and value.grad.abs().sum() > 0 for value in model.blocks[2].parameters())
    assert {key.split(".")[1] for key, value in model.named_parameters() if value.requires_grad} == {"2"}


def test_post_norm_copies_learn_more_than_a_bias() -> None:
    block = timm.create_model(MAKES["post_norm"], **SMALL).blocks[0]
    inserted: Any = identity_copy(block)
    tokens = torch.randn(2, 5, 48)
    assert torch.equal(inserted(tokens), tokens)
    inserted(tokens).square().sum().backward()
    assert inserted.norm1.weight.grad.abs().sum() > 0
    assert inserted.norm2.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", PARALLEL)
def test_parallel_blocks_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(UserError, match=r"block_expansion: the backbone's blocks \(\w*Parallel\w+\) have no attention"):
        started(name)


def test_a_copy_that_would_change_the_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clsuite_plugins.block_expansion.identity_copy", lambda block: copy.deepcopy(block))
    with pytest.raises(UserError, match="its blocks are of a kind that is not known"):
        started("distilled")


def test_what_freezes_the_new_blocks_is_refused_in_both_orders() -> None:
    found = [(name, find_plugin(name)[1]) for name in ("block_expansion", "linear_probe")]
    for plugins in (found, found[::-1]):
        with pytest.raises(UserError, match=r"blocks of .block_expansion. would never be trained"):
            check_method(plugins, "class_incremental")
