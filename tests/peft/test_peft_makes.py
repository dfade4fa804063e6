"""Modules on blocks of other makes than timm's plain one: both towers of OpenCLIP, EVA, BEiT, gated MLPs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from small_networks import OTHERS, SMALL
from torch import Tensor, nn

from clsuite.backbones.class_texts import ClassTexts
from clsuite.backbones.clip import ClipBackbone, build_clip
from clsuite.backbones.spec import BackboneSpec, Weights
from clsuite.errors import UserError
from clsuite.peft import PET_KINDS, build_pet, transformer_blocks
from clsuite.peft.blocks import final_norm
from clsuite.peft.compat.packed import scores_to_add

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
Make = tuple[nn.Module, nn.Module, Callable[[], Tensor]]
EVERY = ("image", "text", *OTHERS)
COUNTS_POSITIONS = ("eva_rope", "eva_separate", "beit")


def clip() -> ClipBackbone:
    torch.manual_seed(0)
    return build_clip(BackboneSpec(name="open_clip:clip_nano"), Weights("random")).eval()


def make(name: str) -> Make:
    """A network that modules are attached to, what holds it, and what it computes."""
    if name in OTHERS:
        torch.manual_seed(0)
        model: Any = timm.create_model(OTHERS[name], **SMALL).eval()
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():  # weights that matter: biases too, and scales that are near zero in a new network
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        return model, model, lambda: model(IMAGES)
    backbone = clip()
    if name == "image":
        return backbone.model, backbone, lambda: backbone(IMAGES)
    tokens = backbone.tokenize(["a cup", "a sea horse", "two grand pianos"])
    return backbone.text_model, backbone, lambda: backbone.encode_tokens(tokens)


def attachable(kind: Any, name: str, **arguments: Any) -> tuple[Any, Make]:
    """A module as after some training, and the network for it."""
    made = make(name)
    given = {"size": 3, "blocks": "all", "generator": torch.Generator().manual_seed(1), **arguments}
    module = build_pet(kind, made[0], **given)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module, made


def impossible(kind: str, name: str) -> bool:
    if kind == "prompt":
        return name == "text" or name in COUNTS_POSITIONS
    return kind == "prefix" and name.startswith(("eva", "beit"))


PAIRS = [(kind, name) for kind in PET_KINDS for name in EVERY if not impossible(kind, name)]


@pytest.mark.parametrize(("kind", "name"), PAIRS)
def test_a_module_acts_learns_is_switched_off_and_leaves_nothing_behind(kind: str, name: str) -> None:
    module, (model, holder, compute) = attachable(kind, name)
    holder.requires_grad_(False)  # first: attention takes other kernels where weights are trained
    names, plain = set(holder.state_dict()), compute().detach()
    module.attach(model)
    assert set(holder.state_dict()) == names
    assert (compute() - plain).abs().max() > 1e-3
    compute().square().sum().backward() if name != "text" else compute()[:, 0].sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    assert not any(parameter.grad is not None for parameter in holder.parameters())
    with module.switched(False):
        torch.testing.assert_close(compute(), plain, rtol=1e-4, atol=1e-5)
    module.detach_from_model()
    torch.testing.assert_close(compute().detach(), plain, rtol=1e-6, atol=1e-7)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    assert not any("forward" in vars(part) or "_opened_for_modules" in vars(part) for part in model.modules())


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k in PET_KINDS for n in EVERY if impossible(k, n)])
def test_what_cannot_be_is_refused_with_the_reason(kind: Any, name: str) -> None:
    reason = {"prefix": "is not the plain one", "prompt": "causal mask has a fixed length|added tokens have none"}
    with pytest.raises(UserError, match=reason[kind]):
        attachable(kind, name)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("targets", ["q", "k+v", "q+v+proj", "q+k+v+proj+fc1+fc2"])
def test_lora_merged_computes_what_lora_attached_does(targets: str, name: str) -> None:
    if "fc1" in targets and name == "eva_separate":
        with pytest.raises(UserError, match="gated and have two first layers: leave fc1 out"):
            attachable("lora", name, targets=targets)
        targets = targets.replace("+fc1", "")
    module, (model, holder, compute) = attachable("lora", name, targets=targets, alpha=2.0)
    before = {key: value.clone() for key, value in holder.state_dict().items()}
    with torch.no_grad():
        plain = compute()
        module.attach(model)
        attached = compute()
        module.detach_from_model()
        module.merge(model)
        torch.testing.assert_close(compute(), attached, rtol=1e-3, atol=1e-4)
        module.merge(model, sign=-1.0)
        torch.testing.assert_close(compute(), plain, rtol=1e-3, atol=1e-4)
    for key, value in holder.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["image", "distilled"])
def test_a_pooled_prompt_stands_for_the_image_on_other_makes(name: str) -> None:
    """Its tokens' mean behind the norm, and what the network does to its features from there."""
    module, (model, holder, compute) = attachable("prompt", name, blocks="0")
    module.pooled = True
    module.attach(model)
    seen: list[Tensor] = []
    norm, prefix_tokens = final_norm(model)
    norm.register_forward_pre_hook(lambda norm, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        answer = compute()
        assert seen[0].shape[1] == 3
        expected = nn.functional.layer_norm(seen[0], seen[0].shape[2:], norm.weight, norm.bias, norm.eps).mean(dim=1)
        if isinstance(holder, ClipBackbone):
            expected = expected @ holder.model.proj
    assert prefix_tokens == {"image": 1, "distilled": 2}[name]
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_ia3_merged_computes_what_ia3_attached_does(name: str) -> None:
    module, (model, _, compute) = attachable("ia3", name)
    with torch.no_grad():
        plain = compute()
        module.attach(model)
        attached = compute()
        module.detach_from_model()
        module.merge(model)
        torch.testing.assert_close(compute(), attached, rtol=1e-3, atol=1e-4)
        assert (attached - plain).abs().max() > 1e-3
        module.merge(model, sign=-1.0)
        torch.testing.assert_close(compute(), plain, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", EVERY)
def test_an_idle_hook_on_the_projections_changes_nothing_and_an_active_one_sees_their_output(name: str) -> None:
    model, _, compute = make(name)
    block = transformer_blocks(model)[0]
    with torch.no_grad():
        plain = compute()
        idle = block.attn.qkv.register_forward_hook(lambda *_: None)
        torch.testing.assert_close(compute(), plain, rtol=1e-4, atol=1e-5)
        doubled = block.attn.qkv.register_forward_hook(lambda module, inputs, output: 1.0 * output)
        torch.testing.assert_close(compute(), plain, rtol=1e-4, atol=1e-5)
        seen: list[Tensor] = []
        last = block.attn.qkv.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
        compute()
        assert seen[0].shape[-1] == block.attn.qkv.in_features
        zeroed = block.attn.qkv.register_forward_hook(lambda module, inputs, output: 0.0 * output)
        silent = block.attn.register_forward_hook(lambda module, inputs, output: seen.append(output))
        compute()
        bias = block.attn.proj.bias
        if name not in ("eva_rope", "eva_separate"):  # those normalize the mixture in front of the projection
            torch.testing.assert_close(seen[-1], bias.expand_as(seen[-1]), rtol=1e-4, atol=1e-5)
        for handle in (silent, zeroed, last, idle, doubled):
            handle.remove()
        torch.testing.assert_close(compute(), plain, rtol=1e-6, atol=1e-7)


def test_two_modules_on_one_attention_add_up_and_come_off_in_any_order() -> None:
    one, (model, _, compute) = attachable("lora", "image", targets="q+proj")
    two = build_pet("lora", model, size=3, blocks="all", generator=torch.Generator().manual_seed(5), targets="v")
    two.parts["0_v"].up.data.fill_(0.3)
    with torch.no_grad():
        plain = compute()
        one.attach(model)
        alone = compute()
        two.attach(model)
        assert not torch.allclose(compute(), alone)
        one.detach_from_model()
        second = compute()
        two.detach_from_model()
        torch.testing.assert_close(compute(), plain, rtol=0, atol=0)
        two.attach(model)
        torch.testing.assert_close(compute(), second, rtol=0, atol=0)


def test_a_copy_of_a_network_with_a_module_computes_with_its_own_weights() -> None:
    module, (model, holder, compute) = attachable("lora", "image")
    module.attach(model)
    twin: Any = copy.deepcopy(holder)
    with torch.no_grad():
        torch.testing.assert_close(twin(IMAGES), compute())
        for block in transformer_blocks(twin.model):
            block.attn.qkv.weight.zero_()
        assert not torch.allclose(twin(IMAGES), compute())


def test_the_text_towers_mask_holds_with_modules() -> None:
    """A later word changes nothing before it: the causal mask reaches the opened attention and the prefix."""
    backbone = clip()
    tokens = backbone.tokenize(["a cup", "a horse"])
    seen: list[Tensor] = []
    transformer_blocks(backbone.text_model)[-1].register_forward_hook(lambda m, i, output: seen.append(output))
    for kind in ("lora", "prefix"):
        module = build_pet(kind, backbone.text_model, size=2, blocks="all", generator=torch.Generator())
        module.attach(backbone.text_model)
        with torch.no_grad():
            backbone.encode_tokens(tokens)
        torch.testing.assert_close(seen[-1][0, :2], seen[-1][1, :2], rtol=1e-5, atol=1e-6)
        assert not torch.allclose(seen[-1][0, 2], seen[-1][1, 2], rtol=1e-2)
        module.detach_from_model()


def test_masks_of_both_kinds() -> None:
    allowed = torch.tensor([[False, True], [False, False]])
    expected = torch.tensor([[0.0, float("-inf")], [0.0, 0.0]])
    assert torch.equal(scores_to_add(allowed, 1, 1), expected)  # type: ignore[arg-type]
    assert scores_to_add(torch.zeros(6, 2, 2), 2, 3).shape == (2, 3, 2, 2)  # type: ignore[union-attr]
    assert scores_to_add(None, 1, 1) is None


def test_class_texts_follow_a_module_on_the_text_tower() -> None:
    module, (model, holder, _) = attachable("lora", "text")
    assert isinstance(holder, ClipBackbone)
    texts = ClassTexts(holder, ["cup", "horse"])
    with torch.no_grad():
        plain = texts.features(2)
        module.attach(model)
        attached = texts.features(2)
        assert not torch.allclose(attached, plain)
        for part in module.parameters():
            part.mul_(2)
        assert not torch.allclose(texts.features(2), attached)
        module.detach_from_model()
        torch.testing.assert_close(texts.features(2), plain)
    module.attach(model)
    holder.requires_grad_(False)
    texts.features(2)[0, 0].backward()
    assert all(part.grad is not None for part in module.parameters())


def test_the_names_of_timm_reach_the_parameters_of_a_clip_block() -> None:
    """What half fine-tuning asks of a block."""
    block = transformer_blocks(clip().model)[0]
    whole = {id(parameter) for parameter in block.of.parameters()}
    pairs = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "norm1", "norm2")
    named = {id(value) for name in pairs for value in block.get_submodule(name).parameters()}
    assert named == whole
