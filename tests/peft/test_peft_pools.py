"""Modules of several entries: every sample is acted on by its own entries, as by one module of their joint size."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from clsuite.errors import UserError
from clsuite.peft import PET, PET_KINDS, GivenPrefix, Prompt, build_pet, transformer_blocks
from clsuite.peft.prefix import KeyValues
from clsuite.peft.route import Route

ENTRIES, SIZE = 4, 2
IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
CHOSEN = torch.tensor([[0, 3], [2, 1], [3, 2]])


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=32, depth=2, embed_dim=48, num_heads=3, num_classes=0
    ).eval()


def make(kind: Any, model: nn.Module, entries: int, size: int = SIZE) -> PET:
    own = {"alpha": 1.0} if kind == "lora" else {}
    module = build_pet(
        kind, model, size=size, blocks="all", generator=torch.Generator().manual_seed(1), entries=entries, **own
    )
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module.eval()  # without dropout


def own_rows(chosen: list[int], length: int) -> torch.Tensor:
    """Positions of some entries in a dimension in which the entries lie side by side."""
    size = length // ENTRIES
    return torch.cat([torch.arange(entry * size, (entry + 1) * size) for entry in chosen])


def cut(pool: PET, chosen: list[int], kind: Any, model: nn.Module) -> PET:
    """A module that holds nothing but some entries of a pool."""
    alone = make(kind, model, len(chosen))
    values = dict(pool.named_parameters())
    with torch.no_grad():
        for name, parameter in alone.named_parameters():
            whole = values[name]
            dim = next((d for d in range(whole.dim()) if whole.shape[d] != parameter.shape[d]), None)
            rows = None if dim is None else own_rows(chosen, whole.shape[dim])
            parameter.copy_(whole if dim is None or rows is None else whole.index_select(dim, rows))
    return alone


@pytest.mark.parametrize("kind", PET_KINDS)
def test_a_routed_sample_is_acted_on_by_its_entries_alone(kind: str, model: Any) -> None:
    pool = make(kind, model, ENTRIES)
    pool.attach(model)
    pool.route = Route(CHOSEN, ENTRIES)
    together = model(IMAGES)
    pool.detach_from_model()
    for sample, chosen in enumerate(CHOSEN.tolist()):
        alone = cut(pool, chosen, kind, model)
        alone.attach(model)
        torch.testing.assert_close(together[sample], model(IMAGES)[sample], rtol=1e-4, atol=1e-4)
        alone.detach_from_model()
    assert (together - model(IMAGES)).abs().amax(dim=1).min() > 1e-3


@pytest.mark.parametrize("kind", PET_KINDS)
def test_only_the_chosen_entries_get_gradients(kind: str, model: Any) -> None:
    pool = make(kind, model, ENTRIES)
    pool.attach(model)
    pool.route = Route(torch.tensor([[0, 2], [2, 0], [0, 2]]), ENTRIES)
    model(IMAGES).square().sum().backward()
    for name, parameter in pool.named_parameters():
        assert parameter.grad is not None, name
        dims = [dim for dim, size in enumerate(parameter.shape) if size in (ENTRIES, ENTRIES * SIZE)]
        assert len(dims) == 1, name
        rows = own_rows([1, 3], parameter.shape[dims[0]])
        assert not parameter.grad.index_select(dims[0], rows).any(), name
        assert parameter.grad.any(), name


def test_a_pooled_prompt_gives_the_mean_of_what_its_tokens_have_become(model: Any) -> None:
    prompt = build_pet(
        "prompt", model, size=SIZE, blocks="0", generator=torch.Generator().manual_seed(1), entries=ENTRIES
    )
    assert isinstance(prompt, Prompt)
    plain = model(IMAGES)
    prompt.pooled = True
    prompt.attach(model)
    prompt.route = Route(CHOSEN, ENTRIES)
    inside: list[torch.Tensor] = []
    behind: list[torch.Tensor] = []
    handles = [
        transformer_blocks(model)[-1].mlp.register_forward_hook(lambda mlp, inputs, output: inside.append(output)),
        model.norm.register_forward_pre_hook(lambda norm, inputs: behind.append(inputs[0])),
    ]
    answer = model(IMAGES)
    assert inside[0].shape == (3, 1 + 2 * SIZE + 4, 48)
    assert behind[0].shape == (3, 2 * SIZE, 48)
    normed = nn.functional.layer_norm(behind[0], (48,), model.norm.weight, model.norm.bias, model.norm.eps)
    torch.testing.assert_close(answer, normed.mean(dim=1))
    for handle in handles:
        handle.remove()
    with prompt.switched(False):
        torch.testing.assert_close(model(IMAGES), plain, rtol=0, atol=0)
    prompt.detach_from_model()
    torch.testing.assert_close(model(IMAGES), plain, rtol=0, atol=0)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("pooling", ["token", "avg"])
def test_a_pooled_prompt_does_not_hang_on_how_the_network_pools(pooling: str, late: bool) -> None:
    answers = []
    for class_token in (True, False) if pooling == "avg" else (True,):
        torch.manual_seed(0)
        model = timm.create_model(
            "vit_tiny_patch16_224", img_size=32, depth=1, embed_dim=48, num_heads=3, num_classes=0,
            global_pool=pooling, class_token=class_token, fc_norm=False,
        ).eval()  # fmt: skip
        prompt = Prompt(model, [0], 3, torch.Generator().manual_seed(0))
        prompt.pooled = not late
        prompt.attach(model)
        prompt.pooled = True  # as a plugin says it, behind attach_pet
        tokens: list[torch.Tensor] = []
        model.norm.register_forward_hook(lambda norm, inputs, output, kept=tokens: kept.append(inputs[0]))
        answers.append(model(IMAGES))
        expected = nn.functional.layer_norm(tokens[0], (48,), model.norm.weight, model.norm.bias, model.norm.eps)
        torch.testing.assert_close(answers[-1], expected.mean(dim=1))
        assert tokens[0].shape == (3, 3, 48)


def test_a_prompt_is_not_pooled_where_no_norm_is_passed_by_every_token(model: Any) -> None:
    early, late = (Prompt(model, [0], 3, torch.Generator()) for _ in range(2))
    del model.norm
    early.pooled = True
    with pytest.raises(UserError, match="has no norm that every token passes"):
        early.attach(model)
    late.attach(model)
    with pytest.raises(UserError, match="has no norm that every token passes"):
        late.pooled = True


def test_prompts_leave_behind_their_block_where_they_do_not_stay() -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"img_size": 32, "depth": 5, "embed_dim": 48, "num_heads": 3, "num_classes": 0}
    model = timm.create_model("vit_tiny_patch16_224", **sizes).eval()
    seen: list[int] = []
    for block in model.blocks:
        block.mlp.register_forward_hook(lambda mlp, inputs, output: seen.append(output.shape[1] - 5))
    answers = {}
    for stays, inside in ((True, [0, 3, 3, 3, 3]), (False, [0, 3, 3, 0, 3])):
        prompt = Prompt(model, [1, 2, 4], 3, torch.Generator().manual_seed(0), stays=stays)
        prompt.attach(model)
        answers[stays] = model(IMAGES)
        assert seen == inside
        seen.clear()
        prompt.detach_from_model()
    assert not torch.equal(answers[True], answers[False])


def naive(attention: Any, x: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Li & Liang's attention of one sample, head by head."""
    queries, own_keys, own_values = attention.qkv(x).chunk(3, dim=-1)
    keys, values = torch.cat([keys, own_keys]), torch.cat([values, own_values])
    heads = []
    for head in range(attention.num_heads):
        part = slice(head * attention.head_dim, (head + 1) * attention.head_dim)
        scores = queries[:, part] @ keys[:, part].T / attention.head_dim**0.5
        heads.append(scores.softmax(dim=1) @ values[:, part])
    answer: torch.Tensor = attention.proj(torch.cat(heads, dim=1))
    return answer


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("by_sample", [True, False])
def test_a_given_prefix_is_attended_to_like_tokens(fused: bool, by_sample: bool, model: Any) -> None:
    attention = transformer_blocks(model)[1].attn
    attention.fused_attn = fused
    inputs = torch.randn(3, 5, 48)
    keys, values = torch.randn(2, 3, 2, 48) if by_sample else torch.randn(2, 2, 48)
    prefix = GivenPrefix([1])
    plain = attention(inputs)
    prefix.attach(model)
    torch.testing.assert_close(attention(inputs), plain)
    prefix.given = {1: (keys, values)}
    answer = attention(inputs)
    for sample in range(3):
        own = (keys[sample], values[sample]) if by_sample else (keys, values)
        torch.testing.assert_close(answer[sample], naive(attention, inputs[sample], *own), rtol=1e-4, atol=1e-5)
    with prefix.switched(False):
        torch.testing.assert_close(attention(inputs), plain)
    prefix.release()
    torch.testing.assert_close(attention(inputs), plain)
    prefix.detach_from_model()
    assert "forward" not in attention.__dict__


def test_scales_of_prefixes_in_a_pool_are_each_entrys_own() -> None:
    pool = KeyValues(6, 2, torch.Generator().manual_seed(0), entries=3)
    with torch.no_grad():
        pool.key_scale.copy_(torch.tensor([1.0, 2.0, 3.0]))
    keys, values = pool.scaled(Route(torch.tensor([[2, 0]]), 3))
    torch.testing.assert_close(keys[0], torch.cat([3 * pool.keys[4:], pool.keys[:2]]))
    torch.testing.assert_close(values[0], torch.cat([pool.values[4:], pool.values[:2]]))


def test_weights_of_a_route_pass_through_a_map_over_samples() -> None:
    """Importances of single samples (EWC's Fisher) are computed by ``vmap`` through modules with a route."""
    mapped = torch.func.vmap(lambda chosen: Route(chosen.unsqueeze(0), ENTRIES).weights().squeeze(0))
    assert torch.equal(mapped(CHOSEN), Route(CHOSEN, ENTRIES).weights())
