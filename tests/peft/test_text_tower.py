"""Modules in the text tower of a CLIP: contexts among the words, and features that are kept until one changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clsuite.backbones.class_texts import ClassTexts
from clsuite.backbones.clip import ClipBackbone, build_clip
from clsuite.backbones.spec import BackboneSpec, Weights
from clsuite.errors import UserError
from clsuite.peft import PET_KINDS, TextContext, build_pet

NAMES = ("red fox", "teapot", "great white shark")


@pytest.fixture
def clip() -> ClipBackbone:
    torch.manual_seed(0)
    return build_clip(BackboneSpec(name="open_clip:clip_nano"), Weights("random")).eval()


def context(clip: ClipBackbone, length: int = 4, words: str = "") -> TextContext:
    return TextContext(clip, length, torch.Generator().manual_seed(1), words=words)


def texts(clip: ClipBackbone, *templates: str) -> torch.Tensor:
    with torch.no_grad():
        return ClassTexts(clip, NAMES, templates).features(len(NAMES))


def test_a_context_of_the_words_of_a_template_is_that_template(clip: ClipBackbone) -> None:
    """CoOp with four vectors that begin as ``a photo of a``."""
    expected = texts(clip, "a photo of a {}.")
    module = context(clip, words="a photo of a")
    clip.attach_to_text(module, clip)
    torch.testing.assert_close(texts(clip, "{}."), expected, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        module.tokens.normal_(generator=torch.Generator().manual_seed(2))
    assert (texts(clip, "{}.") - expected).abs().max() > 1e-3


def test_a_context_that_is_off_or_detached_changes_nothing(clip: ClipBackbone) -> None:
    expected = texts(clip)
    module = context(clip)
    clip.attach_to_text(module, clip)
    with module.switched(False):
        torch.testing.assert_close(texts(clip), expected, rtol=0, atol=0)
    assert not torch.equal(texts(clip), expected)
    module.detach_from_model()
    torch.testing.assert_close(texts(clip), expected, rtol=0, atol=0)
    assert not clip.token_hooks
    assert not clip.text_is_altered()


def test_a_text_that_becomes_too_long_keeps_its_end(clip: ClipBackbone) -> None:
    tokens = clip.tokenize([" ".join(["shark"] * 18), "fox"])
    moved = context(clip).make_room(tokens)
    assert moved.shape == tokens.shape
    assert moved[0, -1] == tokens.max()
    assert moved[0].argmax() == 23
    assert moved[1].tolist()[:8] == [tokens[1, 0].item(), 0, 0, 0, 0, tokens[1, 1].item(), tokens.max().item(), 0]


@pytest.mark.parametrize(("length", "words"), [(22, ""), (2, "a photo of a")])
def test_what_does_not_fit_is_refused(length: int, words: str, clip: ClipBackbone) -> None:
    with pytest.raises(UserError, match="prompt:"):
        context(clip, length, words)


@pytest.mark.parametrize("kind", PET_KINDS)
def test_features_are_kept_until_a_module_changes(kind: Any, clip: ClipBackbone, monkeypatch: Any) -> None:
    clip.requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    module = (
        context(clip)
        if kind == "prompt"
        else build_pet(kind, clip.text_model, size=2, blocks="all", generator=generator)
    )
    clip.attach_to_text(module, clip if kind == "prompt" else None)
    kept, passes = ClassTexts(clip, NAMES), list[int]()
    encode = clip.encode_tokens
    monkeypatch.setattr(clip, "encode_tokens", lambda tokens: passes.append(len(tokens)) or encode(tokens))
    with torch.no_grad():
        first, again = kept.features(2), kept.features(3)
    assert passes == [1, 1, 1]
    torch.testing.assert_close(again[:2], first, rtol=0, atol=0)
    assert kept.features(3).requires_grad  # trained: computed in each step
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        changed = kept.features(3)
    assert (changed - again).abs().max() > 1e-4
    with torch.no_grad(), module.switched(False):
        torch.testing.assert_close(kept.features(3), texts(clip), rtol=0, atol=0)
    passes.clear()
    module.requires_grad_(False)
    kept.features(3)
    kept.features(3)
    assert passes == [1, 1, 1]


def test_what_else_acts_on_the_embedding_lets_nothing_be_kept(clip: ClipBackbone) -> None:
    kept = ClassTexts(clip, NAMES)
    with torch.no_grad():
        before = kept.features(3)
        clip.attach_to_text(build_pet("lora", clip.text_model, size=2, blocks="all", generator=torch.Generator()))
        handle = clip.clip.token_embedding.register_forward_hook(lambda module, inputs, output: 2 * output)
        assert clip.text_is_altered()
        assert (kept.features(3) - before).abs().max() > 1e-3
        handle.remove()
    assert not clip.text_is_altered()
