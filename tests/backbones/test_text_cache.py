"""Text features are kept until something that they depend on changes, whatever kind of CLIP it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor, nn

from clsuite.backbones.class_texts import ClassTexts
from clsuite.backbones.clip import ClipBackbone, build_clip
from clsuite.backbones.spec import BackboneSpec, Weights

NAMES = ("cup", "horse", "sea")
VISION = {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 8}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}


def nano() -> ClipBackbone:
    """OpenCLIP's own class, whose text tower is not one module."""
    return build_clip(BackboneSpec(name="open_clip:clip_nano"), Weights("random"))


def custom() -> ClipBackbone:
    """The class of SigLIP and others, which has the whole text tower in one module."""
    clip = open_clip.CustomTextCLIP(
        embed_dim=32, vision_cfg=open_clip.CLIPVisionCfg(**VISION), text_cfg=open_clip.CLIPTextCfg(**TEXT)
    )
    return ClipBackbone(clip, open_clip.SimpleTokenizer(context_length=16), ("a {}.",), 32, (0.5,) * 3, (0.5,) * 3)


MAKERS = {"own": nano, "custom": custom}


def tower(backbone: ClipBackbone) -> Any:
    return getattr(backbone.clip, "text", backbone.clip)


def with_context(backbone: ClipBackbone) -> None:
    """A learned context in place of the first word, as CoOp has it, by a hook on the embedding."""
    context = torch.full((1, tower(backbone).token_embedding.weight.shape[1]), 0.3)

    def put(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return torch.cat([output[:, :1], context.expand(len(output), 1, -1), output[:, 2:]], dim=1)

    tower(backbone).token_embedding.register_forward_hook(put)


def with_scaled_norm(backbone: ClipBackbone) -> None:
    tower(backbone).ln_final.register_forward_hook(lambda module, inputs, output: output.roll(1, dims=-1))


def with_other_projection(backbone: ClipBackbone) -> None:
    """Another tensor of the same version in its place."""
    tower(backbone).text_projection = nn.Parameter(tower(backbone).text_projection.detach().flip(0))


def with_moved_projection(backbone: ClipBackbone) -> None:
    with torch.no_grad():
        tower(backbone).text_projection.copy_(tower(backbone).text_projection.flip(0))


def with_other_embedding(backbone: ClipBackbone) -> None:
    with torch.no_grad():
        tower(backbone).token_embedding.weight.mul_(-1)


def with_a_hook_in_a_block(backbone: ClipBackbone) -> None:
    block = tower(backbone).transformer.resblocks[0]
    block.register_forward_hook(lambda module, inputs, output: output.roll(1, dims=-1))


def with_other_mask(backbone: ClipBackbone) -> None:
    """A buffer: every token attends to all others."""
    tower(backbone).attn_mask = torch.zeros_like(tower(backbone).attn_mask)


def with_own_encoding(backbone: ClipBackbone) -> None:
    encode = backbone.clip.encode_text
    backbone.clip.encode_text = lambda tokens, normalize=False: encode(tokens, normalize=normalize).roll(1, dims=-1)


CHANGES: dict[str, Callable[[ClipBackbone], None]] = {
    "context": with_context,
    "last normalization": with_scaled_norm,
    "another projection": with_other_projection,
    "moved projection": with_moved_projection,
    "embedding": with_other_embedding,
    "hook in a block": with_a_hook_in_a_block,
    "mask": with_other_mask,
    "own encoding": with_own_encoding,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", MAKERS)
@torch.no_grad()
def test_a_change_is_seen(kind: str, change: str) -> None:
    torch.manual_seed(0)
    backbone = MAKERS[kind]().eval()
    texts = ClassTexts(backbone, NAMES)
    before = texts.features(3).clone()
    encoded: list[int] = []
    encode = backbone.encode_tokens
    backbone.encode_tokens = lambda tokens: encoded.append(len(tokens)) or encode(tokens)  # type: ignore[method-assign, func-returns-value]
    assert torch.equal(texts.features(3), before)
    assert not encoded  # they are kept
    CHANGES[change](backbone)
    after = texts.features(3)
    assert not torch.allclose(after, before, atol=1e-3)
    torch.testing.assert_close(after, ClassTexts(backbone, NAMES).features(3), rtol=1e-5, atol=1e-6)


def test_a_hook_that_is_removed_leaves_the_first_features() -> None:
    backbone = nano().eval()
    texts = ClassTexts(backbone, NAMES)
    with torch.no_grad():
        before = texts.features(3).clone()
        handle = backbone.clip.ln_final.register_forward_hook(lambda module, inputs, output: 2 * output.roll(1, -1))
        assert not torch.allclose(texts.features(3), before)
        handle.remove()
        torch.testing.assert_close(texts.features(3), before, rtol=0, atol=0)


def test_features_have_full_precision_under_autocast_with_modules_too() -> None:
    backbone = nano().eval()
    with_context(backbone)
    texts = ClassTexts(backbone, NAMES)
    with torch.no_grad():
        plain = texts.features(3)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(texts.features(3), plain)
