"""First values of prompts, scale and shift, arguments of other kinds, and precision of modules that route."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch

from clsuite.errors import UserError
from clsuite.peft import PET_KINDS, GivenPrefix, Prompt, build_pet, first_values, only
from clsuite.peft.build import OF_KINDS
from clsuite.peft.route import Route

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=32, depth=2, embed_dim=48, num_heads=3, num_classes=0
    ).eval()


def make(kind: Any, model: Any, **more: Any) -> Any:
    given = {"size": 2, "blocks": "all", "generator": torch.Generator().manual_seed(1), **more}
    return build_pet(kind, model, **given)


@pytest.mark.parametrize(
    ("init", "low", "high"),
    [
        ("unit", -1.0, 1.0),
        ("small", 0.0, 0.01),
        ("xavier", -((6 / (3 * 16**2 + 48)) ** 0.5), (6 / (3 * 16**2 + 48)) ** 0.5),
        ("linear", -(48**-0.5), 48**-0.5),
    ],
)
def test_first_values_are_those_of_each_code(init: Any, low: float, high: float, model: Any) -> None:
    tokens = make("prompt", model, size=50, prompt_init=init).tokens.detach()
    drawn = first_values(init, (100, 48), torch.Generator().manual_seed(0))
    for values in (tokens, drawn):
        assert values.min() >= low
        assert values.max() <= high
        assert values.max() - values.min() > 0.9 * (high - low)


def test_a_prompt_begins_as_vpt_does_by_default(model: Any) -> None:
    assert torch.equal(make("prompt", model).tokens, make("prompt", model, prompt_init="xavier").tokens)
    assert isinstance(make("prompt", model), Prompt)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("targets", "q+v"),
        ("alpha", 3.0),
        ("learn_scale", True),
        ("place", "mlp"),
        ("prompt_init", "unit"),
        ("joint", True),
        ("ends", True),
    ],
)
def test_what_a_kind_has_no_use_for_is_refused(name: str, value: Any, model: Any) -> None:
    for kind in PET_KINDS:
        if kind in OF_KINDS[name]:
            make(kind, model, **{name: value})
        else:
            with pytest.raises(UserError, match=f"{kind}: {name} belongs to {OF_KINDS[name][0]}"):
                make(kind, model, **{name: value})


@pytest.mark.parametrize("kind", PET_KINDS)
def test_a_routed_module_keeps_double_precision(kind: str, model: Any) -> None:
    pool = make(kind, model, entries=3).double().eval()
    model.double()
    pool.attach(model)
    pool.route = Route(torch.tensor([[0, 1], [2, 0], [1, 2], [0, 1]]), 3)
    assert model(IMAGES.double()).dtype == torch.float64


def test_ssf_scales_and_shifts_what_norms_and_layers_give(model: Any) -> None:
    module = make("ssf", model, blocks="1")
    block, tokens = model.blocks[1], torch.randn(2, 5, 48)
    given = {name: block.get_submodule(name) for name in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1")}
    plain = {name: part(tokens) for name, part in given.items()}
    module.attach(model)
    for name, part in given.items():
        own = module.parts["1_" + {"mlp.fc1": "fc1_0"}.get(name, name.split(".")[-1])]
        torch.testing.assert_close(part(tokens), plain[name] * own.scale[0] + own.shift[0])
    assert module.numel == 2 * (48 * (1 + 3 + 1 + 1 + 4 + 1))
    assert (next(iter(module.parts.values())).scale - 1).abs().mean() < 0.05


def test_one_of_several_modules_acts_alone_for_a_while(model: Any) -> None:
    modules = [make("lora", model) for _ in range(3)]
    modules[1].enabled = False

    def broken_off() -> None:
        with only(modules, 1):
            assert [module.enabled for module in modules] == [False, True, False]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert [module.enabled for module in modules] == [True, False, True]
    with only(modules, None):
        assert not any(module.enabled for module in modules)


@pytest.mark.parametrize("routed", [False, True])
def test_a_joint_prefix_is_a_given_one_with_keys_and_values_of_its_own(routed: bool, model: Any) -> None:
    own, given = make("prefix", model, size=3, joint=True, prompt_init="unit", entries=2), GivenPrefix([0, 1])
    assert own.numel == 2 * 2 * 6 * 48
    own.attach(model)
    route = Route(torch.tensor([[0], [1], [1], [0]]), 2) if routed else None
    with only([own], 0):
        own.route = route
        expected = model(IMAGES)
    own.detach_from_model()
    given.attach(model)
    rows = {int(block): (part.keys, part.values) for block, part in own.parts.items()}
    if route is not None:
        rows = {block: (route.gather(keys), route.gather(values)) for block, (keys, values) in rows.items()}
    given.given = rows
    torch.testing.assert_close(model(IMAGES), expected)


def test_first_values_of_a_prefix_are_those_that_it_had() -> None:
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, embed_dim=48, num_heads=3, num_classes=0)
    generator = torch.Generator().manual_seed(1)
    keys = torch.empty(2, 48).uniform_(0, 0.01, generator=generator)
    assert torch.equal(make("prefix", model).parts["0"].keys, keys)


def test_prompts_of_zeros_draw_nothing(model: Any) -> None:
    generator = torch.Generator().manual_seed(1)
    before = generator.get_state()
    assert not make("prompt", model, prompt_init="zeros", generator=generator).tokens.count_nonzero()
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("routed", [False, True])
def test_scales_at_both_ends_act_behind_the_patch_embedding_and_the_last_norm(pooled: bool, routed: bool) -> None:
    torch.manual_seed(0)
    shape = {"img_size": 32, "depth": 2, "embed_dim": 48, "num_heads": 3, "num_classes": 0}
    pool = "avg" if pooled else "token"
    model = timm.create_model("vit_tiny_patch16_224", global_pool=pool, class_token=not pooled, **shape).eval()
    plain, ends = (make("ssf", model, entries=2, ends=ends) for ends in (False, True))
    inside = {name: value for name, value in ends.state_dict().items() if name in plain.state_dict()}
    assert all(torch.equal(value, inside[name]) for name, value in plain.state_dict().items())
    route = Route(torch.tensor([[0], [1], [1], [0]]), 2) if routed else None
    with torch.no_grad():
        for part in plain.parts.values():
            part.scale.fill_(1.0)
            part.shift.fill_(0.0)
        ends.load_state_dict({**ends.state_dict(), **plain.state_dict()})
        ends.parts["patch_embed"].scale.fill_(1.0)
        ends.parts["patch_embed"].shift.fill_(0.0)
        expected = model(IMAGES)
        ends.attach(model)
        ends.route = route
        last = ends.parts["norm"]
        scale, shift = 1 + (last.scale - 1).sum(dim=0), last.shift.sum(dim=0)
        if route is not None:
            scale, shift = last.scale[route.chosen[:, 0]], last.shift[route.chosen[:, 0]]
        torch.testing.assert_close(model(IMAGES), expected * scale + shift)
        ends.parts["patch_embed"].scale.fill_(1.5)
        assert not torch.allclose(model(IMAGES), expected * scale + shift)
        ends.detach_from_model()
        assert torch.equal(model(IMAGES), expected)


def test_a_network_without_ends_is_refused(model: Any) -> None:
    model.norm = torch.nn.Identity()
    with pytest.raises(UserError, match="leave ends out"):
        make("ssf", model, ends=True)
