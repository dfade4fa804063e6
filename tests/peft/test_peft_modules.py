"""Parameter-efficient modules: identity at the start, exact arithmetic, nothing left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models.vision_transformer import ResPostBlock
from torch import nn

from clsuite.errors import UserError
from clsuite.peft import IA3, PET_KINDS, LoRA, Prefix, Prompt, build_pet, choose_blocks, transformer_blocks
from clsuite.peft.prefix import prefix_weights


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=32, depth=3, embed_dim=48, num_heads=3, num_classes=0
    ).eval()


def make(kind: Any, model: nn.Module, **arguments: Any) -> Any:
    given = {"size": 4, "blocks": "all", "generator": torch.Generator().manual_seed(1), **arguments}
    return build_pet(kind, model, **given)


def disturb(module: nn.Module) -> None:
    """Give a module parameters as after some training."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))


IMAGES = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["lora", "adapter", "ia3", "adaptformer"])
def test_a_new_module_changes_nothing(kind: str, model: Any) -> None:
    before = model(IMAGES)
    make(kind, model).attach(model)
    torch.testing.assert_close(model(IMAGES), before, rtol=0, atol=0)


@pytest.mark.parametrize("kind", PET_KINDS)
def test_a_module_acts_is_switched_off_and_leaves_nothing_behind(kind: str, model: Any) -> None:
    names, before = set(model.state_dict()), model(IMAGES)
    module = make(kind, model)
    disturb(module)
    module.attach(model)
    assert set(model.state_dict()) == names
    assert (model(IMAGES) - before).abs().max() > 1e-3
    with module.switched(False):
        torch.testing.assert_close(model(IMAGES), before, rtol=0, atol=0)
    assert module.enabled
    module.detach_from_model()
    torch.testing.assert_close(model(IMAGES), before, rtol=0, atol=0)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    assert not any("forward" in part.__dict__ for part in model.modules())


@pytest.mark.parametrize("kind", PET_KINDS)
def test_only_the_module_gets_gradients_and_every_part_of_it(kind: str, model: Any) -> None:
    model.requires_grad_(False)
    module = make(kind, model, learn_scale=kind in ("lora", "adapter", "prefix"))
    disturb(module)
    module.attach(model)
    model(IMAGES).square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("kind", PET_KINDS)
def test_saved_and_loaded_and_averaged(kind: str, model: Any, tmp_path: Path) -> None:
    one, two = make(kind, model), make(kind, model)
    disturb(one)
    one.save(tmp_path / "pet.safetensors")
    two.load(tmp_path / "pet.safetensors")
    for mine, theirs in zip(two.parameters(), one.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    fresh = make(kind, model)
    start = [parameter.clone() for parameter in fresh.parameters()]
    fresh.average_towards(one, 0.75)
    for mine, before, theirs in zip(fresh.parameters(), start, one.parameters(), strict=True):
        torch.testing.assert_close(mine, 0.75 * before + 0.25 * theirs)


@pytest.mark.parametrize("scale", [None, 2.5])
@pytest.mark.parametrize("layer_scale", [None, 0.5])
def test_adaptformer_adds_what_it_makes_of_the_residual_stream_to_the_block(layer_scale: Any, scale: Any) -> None:
    torch.manual_seed(0)
    sizes = {"img_size": 32, "depth": 2, "embed_dim": 48, "num_heads": 3, "num_classes": 0}
    model: Any = timm.create_model("vit_tiny_patch16_224", init_values=layer_scale, **sizes).eval()
    module = make("adaptformer", model, blocks="1", adapter_scale=scale).eval()
    disturb(module)
    part, block = module.parts["1"], model.blocks[1]
    tokens = torch.randn(2, 5, 48, generator=torch.Generator().manual_seed(4))
    stream = tokens + block.ls1(block.attn(block.norm1(tokens)))
    added = (scale or 0.1) * part.up(torch.relu(part.down(stream)))
    expected = stream + block.ls2(block.mlp(block.norm2(stream))) + added
    module.attach(model)
    torch.testing.assert_close(block(tokens), expected)
    block.train()
    assert not torch.equal(block(tokens), block(tokens))  # dropout of the hidden units
    block.eval()
    torch.testing.assert_close(module.train() and block(tokens), expected)  # the network's mode decides


def test_adaptformer_forgets_a_pass_that_was_broken_off(model: Any) -> None:
    module = make("adaptformer", model)
    disturb(module)
    module.attach(model)
    expected = model(IMAGES)

    def stop(mlp: nn.Module, inputs: Any) -> None:
        raise KeyboardInterrupt

    handle = model.blocks[1].mlp.register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        model(2 * IMAGES)
    handle.remove()
    torch.testing.assert_close(model(IMAGES), expected, rtol=0, atol=0)


def test_adaptformer_reads_the_stream_where_the_norm_comes_last() -> None:
    torch.manual_seed(0)
    block: Any = ResPostBlock(48, 3).eval()
    model = nn.Sequential(block)
    module = make("adaptformer", model).eval()
    disturb(module)
    part, tokens = module.parts["0"], torch.randn(2, 5, 48, generator=torch.Generator().manual_seed(4))
    stream = tokens + block.norm1(block.attn(tokens))
    expected = block(tokens) + 0.1 * part.up(torch.relu(part.down(stream)))
    module.attach(model)
    for _ in range(2):
        torch.testing.assert_close(block(tokens), expected)


@pytest.mark.parametrize("targets", ["q", "k+v", "q+v+proj", "fc1+fc2", "q+k+v+proj+fc1+fc2"])
def test_lora_merged_computes_what_lora_attached_does(targets: str, model: Any) -> None:
    module = make("lora", model, targets=targets, alpha=8.0, learn_scale=True)
    disturb(module)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    plain = model(IMAGES)
    module.attach(model)
    attached = model(IMAGES)
    module.detach_from_model()
    module.merge(model)
    torch.testing.assert_close(model(IMAGES), attached, rtol=1e-4, atol=1e-4)
    module.merge(model, sign=-1.0)
    torch.testing.assert_close(model(IMAGES), plain, rtol=1e-4, atol=1e-4)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=1e-4, atol=1e-5)


def test_lora_on_query_leaves_keys_and_values(model: Any) -> None:
    seen: list[torch.Tensor] = []
    qkv = transformer_blocks(model)[0].attn.qkv
    inputs = torch.randn(2, 5, 48)
    plain = qkv(inputs)
    module = make("lora", model, targets="q", blocks="0")
    disturb(module)
    module.attach(model)
    seen = list((qkv(inputs) - plain).chunk(3, dim=-1))
    assert seen[0].abs().max() > 1e-3
    assert not seen[1].any()
    assert not seen[2].any()


def test_lora_scaling() -> None:
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, embed_dim=48, num_heads=3, num_classes=0)
    generator = torch.Generator()
    factors = [
        next(iter(LoRA(model, [0], 4, generator, alpha=8.0, rank_stabilized=stable).parts.values())).factor
        for stable in (False, True)
    ]
    assert factors == [2.0, 4.0]


def test_lora_has_the_papers_parameter_counts() -> None:
    """Bafghi et al., table 1: ViT-B/16, query and value, ranks 4, 8, 16: 301, 448, 743 K with two heads of 76.9 K."""
    with torch.device("meta"):
        model = timm.create_model("vit_base_patch16_224", num_classes=0)
    counts = []
    for rank in (4, 8, 16):
        block = LoRA(model, [0], rank, torch.Generator()).numel
        counts.append((12 * block + 2 * 76_900) // 1000)
    assert counts == [301, 448, 743]


@pytest.mark.parametrize("blocks", ["all", "1"])
def test_ia3_merged_computes_what_ia3_attached_does(blocks: str, model: Any) -> None:
    module = make("ia3", model, blocks=blocks)
    disturb(module)
    disturb(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    plain = model(IMAGES)
    module.attach(model)
    attached = model(IMAGES)
    module.detach_from_model()
    module.merge(model)
    torch.testing.assert_close(model(IMAGES), attached, rtol=1e-4, atol=1e-4)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    expected = ("attn.qkv.weight", "attn.qkv.bias", "mlp.fc2.weight")
    assert changed == {f"blocks.{n}.{name}" for n in choose_blocks([None] * 3, blocks) for name in expected}
    module.merge(model, sign=-1.0)
    torch.testing.assert_close(model(IMAGES), plain, rtol=1e-4, atol=1e-4)


def test_ia3_scales_keys_and_values_and_the_hidden_layer_and_not_the_queries(model: Any) -> None:
    block, inputs = transformer_blocks(model)[1], torch.randn(2, 5, 48)
    plain = block.attn.qkv(inputs).chunk(3, dim=-1)
    hidden = torch.randn(2, 5, block.mlp.fc2.in_features)
    through = nn.functional.linear(3 * hidden, block.mlp.fc2.weight, block.mlp.fc2.bias)
    module = make("ia3", model, blocks="1")
    assert isinstance(module, IA3)
    with torch.no_grad():
        module._part(1).keys.fill_(2.0)
        module._part(1).values.fill_(-1.0)
        module._part(1).hidden.fill_(3.0)
    module.attach(model)
    for part, was, factor in zip(block.attn.qkv(inputs).chunk(3, dim=-1), plain, (1, 2, -1), strict=True):
        torch.testing.assert_close(part, factor * was)
    torch.testing.assert_close(block.mlp.fc2(hidden), through)


def test_ia3_with_a_factor_of_zero_can_be_merged_but_not_taken_out(model: Any) -> None:
    module = make("ia3", model)
    with torch.no_grad():
        module._part(0).keys[0, 3] = 0.0
    module.merge(model)
    with pytest.raises(UserError, match="a factor is zero"):
        module.merge(model, sign=-1.0)


def test_ia3_has_the_papers_parameter_count() -> None:
    """Liu et al., section 3.3: L (d_k + d_v + d_ff) in an encoder; ViT-B/16: 12 (768 + 768 + 3,072)."""
    with torch.device("meta"):
        base = timm.create_model("vit_base_patch16_224", num_classes=0)
        assert IA3(base, range(12)).numel == 12 * (768 + 768 + 3072)


def test_prefix_rows_sum_to_two_minus_the_prefix_share() -> None:
    scores = torch.randn(2, 3, 7, 4 + 7, generator=torch.Generator().manual_seed(0))
    share = scores.softmax(dim=-1)[..., :4].sum(dim=-1)
    weights = prefix_weights(scores, 4)
    torch.testing.assert_close(weights.sum(dim=-1), 2 - share)
    torch.testing.assert_close(weights[..., 4:], scores.softmax(dim=-1)[..., 4:])
    torch.testing.assert_close(weights[..., :4].sum(dim=-1), torch.ones(2, 3, 7))


def test_prefix_of_values_alone_shifts_by_their_mean(model: Any) -> None:
    """With equal keys every query weighs the prefix evenly: the mean of its values is added to the plain mixture."""
    module = make("prefix", model, blocks="0", size=2)
    assert isinstance(module, Prefix)
    attention = transformer_blocks(model)[0].attn
    inputs = torch.randn(1, 4, 48)
    with torch.no_grad():
        for part in module.parts.values():
            part.keys.fill_(-1e4 / 48)
            part.values.copy_(torch.randn(2, 48))
    mean = next(iter(module.parts.values())).values.mean(dim=0)
    attention.qkv.weight.data[:48].zero_()
    attention.qkv.bias.data[:48].fill_(1.0)
    plain = attention(inputs) + nn.functional.linear(mean, attention.proj.weight)
    module.attach(model)
    torch.testing.assert_close(attention(inputs), plain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("blocks", ["0", "all"])
def test_prompt_tokens_enter_and_leave(blocks: str, model: Any) -> None:
    module = make("prompt", model, blocks=blocks)
    assert isinstance(module, Prompt)
    lengths: list[int] = []
    for block in transformer_blocks(model):
        block.register_forward_hook(lambda module, inputs, output: lengths.append(inputs[0].shape[1]))
    module.attach(model)
    assert model.forward_features(IMAGES).shape == (5, 1 + 4, 48)
    assert lengths == [9, 9, 9]


@pytest.mark.parametrize(
    ("text", "numbers"), [("all", [0, 1, 2]), ("0-1", [0, 1]), ("2,0", [0, 2]), ("1", [1]), ("0-1,1-2", [0, 1, 2])]
)
def test_blocks_are_read_from_text(text: str, numbers: list[int]) -> None:
    assert choose_blocks([None] * 3, text) == numbers


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("lorra", {}, "unknown kind of module 'lorra'. Did you mean 'lora'"),
        ("lora", {"size": 49}, "rank is 49, but must be between 1 and 48"),
        ("lora", {"targets": "q+w"}, "unknown LoRA target 'w'"),
        ("lora", {"blocks": "0-3"}, "has only the blocks 0 to 2"),
        ("adapter", {"blocks": "first"}, "cannot be read: write all, 0-4 or 0,2,5"),
        ("prefix", {"size": 0}, "size is 0, but must be at least 1"),
        ("adapter", {"adapter_scale": 1.0}, "adapter_scale belongs to adaptformer only: leave it out"),
        ("adaptformer", {"adapter_scale": float("nan")}, "adapter_scale is nan, but must be a finite number"),
        ("adaptformer", {"adapter_dropout": 1.0}, "adapter_dropout is 1.0, but must be at least 0 and below 1"),
    ],
)
def test_what_does_not_fit_is_refused(kind: str, arguments: Any, message: str, model: Any) -> None:
    with pytest.raises(UserError, match=message):
        make(kind, model, **arguments)


def test_a_network_without_blocks_is_refused() -> None:
    with pytest.raises(UserError, match="no transformer blocks"):
        make("lora", nn.Linear(3, 3))
