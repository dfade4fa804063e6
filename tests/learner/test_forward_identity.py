"""A network has an identity only where all that decides its features is known, and any change gives it another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import pytest
import timm
import torch
from small_networks import OTHERS, SMALL, VITS
from torch import nn

from clsuite.backbones.clip import ClipBackbone, build_clip
from clsuite.backbones.spec import BackboneSpec, Weights, find_weights
from clsuite.backbones.vit import Backbone, build_backbone
from clsuite.config.fast_paths import VARIABLE
from clsuite.learner.forward_identity import (
    AlteredError,
    forward_parts,
    structure_sha256,
    surroundings,
    weights_sha256,
)
from clsuite.peft import PET_KINDS, build_pet

TIMM = {**VITS, **OTHERS}
MAKES = (*TIMM, "resnet", "clip", "bundled")
NO_PROMPT = ("eva_rope", "eva_separate", "beit", "resnet")
NO_PREFIX = ("eva", "eva_rope", "eva_separate", "beit", "resnet")
CPU = torch.device("cpu")


def make(name: str) -> Backbone:
    torch.manual_seed(0)
    if name == "bundled":
        return build_backbone(BackboneSpec(), find_weights(BackboneSpec(), []))
    if name == "clip":
        return build_clip(BackboneSpec(name="open_clip:clip_nano"), Weights("random"))
    if name == "resnet":
        return Backbone(timm.create_model("resnet10t", num_classes=0), (0.5,), (0.5,))
    return Backbone(timm.create_model(TIMM[name], **SMALL), (0.5,), (0.5,))


def pass_images(backbone: Backbone) -> torch.Tensor:
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return backbone.eval()(backbone.normalize(images))


@pytest.mark.parametrize("name", MAKES)
def test_what_is_built_twice_and_used_is_the_same(name: str) -> None:
    first, second = make(name), make(name)
    before = structure_sha256(first)
    pass_images(first)
    first.train()
    assert structure_sha256(first) == before == structure_sha256(second)
    assert weights_sha256(first) == weights_sha256(second)


@pytest.mark.parametrize("kind", PET_KINDS)
@pytest.mark.parametrize("name", [name for name in MAKES if name != "resnet"])
def test_a_module_that_acts_is_seen_and_one_that_does_not_changes_no_bit(name: str, kind: Any) -> None:
    if (kind == "prompt" and name in NO_PROMPT) or (kind == "prefix" and name in NO_PREFIX):
        return
    backbone = make(name)
    plain, features = structure_sha256(backbone), pass_images(backbone)
    pet = build_pet(kind, backbone.model, size=2, blocks="all", generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in pet.parameters():
            parameter.add_(0.1)
    pet.attach(backbone.model)
    with pytest.raises(AlteredError, match="switched on"):
        structure_sha256(backbone)
    pet.enabled = False
    torch.testing.assert_close(pass_images(backbone), features, rtol=1e-4, atol=1e-5)
    assert structure_sha256(backbone) != plain
    pet.detach_from_model()
    assert structure_sha256(backbone) == plain


def _own_hook(module: nn.Module, inputs: Any, output: Any) -> Any:
    return None


class _Own(nn.Linear):
    pass


@contextmanager
def hooked(backbone: Backbone) -> Iterator[None]:
    backbone.model.norm.register_forward_hook(_own_hook)
    yield


@contextmanager
def method_as_hook(backbone: Backbone) -> Iterator[None]:
    backbone.model.norm.register_forward_hook(backbone.model.norm.forward)
    yield


@contextmanager
def own_class(backbone: Backbone) -> Iterator[None]:
    backbone.model.norm = _Own(3, 3)
    yield


@contextmanager
def other_forward(backbone: Backbone) -> Iterator[None]:
    backbone.model.norm.forward = lambda value: 2 * value
    yield


@contextmanager
def compiled(backbone: Backbone) -> Iterator[None]:
    backbone.model.blocks[0].compile()
    yield


@contextmanager
def hidden(backbone: Backbone) -> Iterator[None]:
    backbone.model.norm.__dict__["_hidden"] = [_Own(3, 3)]
    yield


@contextmanager
def global_hook(backbone: Backbone) -> Iterator[None]:
    handle = nn.modules.module.register_module_forward_hook(_own_hook)
    yield
    handle.remove()


@contextmanager
def patched(backbone: Backbone) -> Iterator[None]:
    usual = nn.LayerNorm.forward
    nn.LayerNorm.forward = lambda self, value: 2 * value  # type: ignore[method-assign]
    yield
    nn.LayerNorm.forward = usual  # type: ignore[method-assign]


@contextmanager
def patched_within(backbone: Backbone) -> Iterator[None]:
    """A method that ``forward`` calls."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(backbone.model), "forward_features", lambda model, images: 2 * images)
        yield


@contextmanager
def wrapped(backbone: Backbone) -> Iterator[None]:
    """A function that goes by the name of what it wraps."""
    usual = backbone.forward
    backbone.forward = wraps(usual)(lambda images: 2 * usual(images))  # type: ignore[method-assign]
    yield


@contextmanager
def decorated(backbone: Backbone) -> Iterator[None]:
    """A function of one's own within one of PyTorch's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.LayerNorm, "forward", torch.no_grad()(lambda module, value: 2 * value))
        yield


@contextmanager
def another_function(backbone: Backbone) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.functional, "gelu", lambda value: 2 * value)
        yield


@pytest.mark.slow
@pytest.mark.parametrize(
    "altered",
    [hooked, method_as_hook, own_class, other_forward, compiled, hidden, global_hook, patched, patched_within, wrapped,
     decorated, another_function],
)  # fmt: skip
def test_what_is_not_known_has_no_identity(altered: Any) -> None:
    backbone = make("vit")
    with altered(backbone), pytest.raises(AlteredError):
        structure_sha256(backbone)


def test_any_attribute_and_any_hook_of_a_backward_pass_counts() -> None:
    backbone = make("vit")
    seen = {structure_sha256(backbone)}
    backbone.model.blocks[1].attn.scale *= 2
    seen.add(structure_sha256(backbone))
    backbone.model.blocks[1].attn.fused_attn = False
    seen.add(structure_sha256(backbone))
    backbone.model.norm.register_full_backward_hook(lambda *_: None)
    seen.add(structure_sha256(backbone))
    backbone.model.blocks[1].mlp.act = nn.ReLU()
    seen.add(structure_sha256(backbone))
    assert len(seen) == 5


def test_weights_are_all_tensors_also_those_that_no_state_has() -> None:
    backbone = make("eva_rope")
    seen = {weights_sha256(backbone)}
    with torch.no_grad():
        backbone.model.blocks[0].attn.proj.weight[0, 0] += 1
        seen.add(weights_sha256(backbone))
        backbone.normalize.std[0] += 1
        seen.add(weights_sha256(backbone))
        backbone.model.norm.__dict__["_plain"] = torch.zeros(2)
        seen.add(weights_sha256(backbone))
        backbone.model.norm.__dict__["_plain"] += 1
        seen.add(weights_sha256(backbone))
        backbone.model.norm.__dict__["_listed"] = {"a": [torch.zeros(2)]}
        seen.add(weights_sha256(backbone))
        backbone.model.norm.__dict__["_listed"]["a"][0] += 1
        seen.add(weights_sha256(backbone))
    assert len(seen) == 7


def test_how_the_weights_lie_in_memory_counts() -> None:
    backbone = make("resnet")
    before = weights_sha256(backbone)
    assert weights_sha256(backbone.to(memory_format=torch.channels_last)) != before  # type: ignore[call-overload]


def test_the_text_tower_of_a_clip_is_no_part_of_it() -> None:
    backbone = make("clip")
    assert isinstance(backbone, ClipBackbone)
    weights, structure = weights_sha256(backbone), structure_sha256(backbone)
    with torch.no_grad():
        for parameter in backbone.text_parameters():
            parameter.add_(1)
    backbone.text_model.register_forward_hook(_own_hook)
    assert (weights_sha256(backbone), structure_sha256(backbone)) == (weights, structure)
    owned = {id(value) for _, module in forward_parts(backbone) for value in module.parameters(recurse=False)}
    image = {id(value) for name, value in backbone.clip.named_parameters() if name.startswith("visual.")}
    assert image <= owned
    with torch.no_grad():
        next(backbone.clip.visual.parameters()).add_(1)
    assert weights_sha256(backbone) != weights


def test_surroundings_tell_what_moves_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    def seen() -> str:
        return repr(surroundings(CPU))

    found = [seen()]
    assert seen() == found[0]
    with torch.autocast("cpu", torch.bfloat16):
        found.append(seen())
    with torch.inference_mode():
        found.append(seen())
    if torch.set_flush_denormal(True):
        found.append(seen())
        torch.set_flush_denormal(False)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    found.append(seen())
    torch.set_num_threads(threads)
    with monkeypatch.context() as changed:
        changed.setenv(VARIABLE, "0")
        found.append(seen())
        changed.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
        found.append(seen())
    assert len(set(found)) == len(found)
    assert seen() == found[0]
