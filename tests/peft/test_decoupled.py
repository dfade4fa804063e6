"""Low-rank directions with magnitudes: what is added to the projections, by hand."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from clsuite.errors import UserError
from clsuite.peft import DecoupledLoRA


def network() -> Any:
    torch.manual_seed(0)
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=0
    ).eval()


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def trained(module: DecoupledLoRA, seed: int = 0) -> None:
    """As if the newest pairs and all magnitudes had been trained."""
    source = torch.Generator().manual_seed(seed)
    for part in module.directions:
        part.ups[-1].data.normal_(0, 0.5, generator=source)
    for value in module.magnitudes:
        value.data.add_(0.3)


def of_pairs(module: DecoupledLoRA, pairs: int, **given: Any) -> DecoupledLoRA:
    for number in range(pairs):
        module.add(3, 0.8, generator())
        trained(module, number)
    return module


@pytest.mark.parametrize("norm", ["product", "paper"])
def test_it_adds_the_sum_of_the_directions_times_their_magnitudes(norm: Any) -> None:
    model = network()
    module = of_pairs(DecoupledLoRA(model, [0, 1], norm=norm), 2)
    inputs = torch.randn(2, 5, 32, generator=generator())
    plain = model.blocks[1].attn.qkv(inputs)
    module.attach(model)
    part, (first, second) = module.parts["1_v"], [value.item() for value in module.magnitudes]
    assert (first, second) == pytest.approx((1.4, 1.1))
    old = part.ups[0] @ part.downs[0]  # type: ignore[index]
    size = old.norm() if norm == "paper" else part.ups[0].norm() * part.downs[0].norm()  # type: ignore[index]
    delta: Tensor = first * old / size + second * part.ups[1] @ part.downs[1]  # type: ignore[index]
    added = model.blocks[1].attn.qkv(inputs) - plain
    torch.testing.assert_close(added[..., 64:], inputs @ delta.T, atol=1e-5, rtol=1e-4)
    assert torch.equal(added[..., 32:64], torch.zeros(2, 5, 32))  # keys


@pytest.mark.parametrize(("norm", "least"), [("product", 0.1), ("paper", 1.0)])
def test_a_finished_direction_has_a_norm_of_one_at_most(norm: Any, least: float) -> None:
    module = of_pairs(DecoupledLoRA(network(), [0, 1], norm=norm), 3)
    norms = torch.stack([part.direction(place).norm() for part in module.directions for place in range(2)])
    assert norms.max() <= 1 + 1e-5
    assert norms.min() >= least - 1e-5


def test_with_one_norm_for_all_projections_carried_magnitudes_change_nothing() -> None:
    model = network()
    module = of_pairs(DecoupledLoRA(model, [0, 1], scope="all"), 2)
    module.attach(model)
    images = torch.randn(2, 3, 32, 32, generator=generator())
    before = model(images)
    norms = module.add(3, 0.8, generator())
    assert len(norms.unique()) == 1
    assert not torch.allclose(model(images), before, atol=1e-3)
    module.magnitudes[1].data.mul_(norms[0])
    torch.testing.assert_close(model(images), before, atol=1e-5, rtol=1e-5)
    squares = torch.stack([part.direction(1).norm().square() for part in module.directions])
    assert squares.mean() <= 1 + 1e-5


def test_only_the_newest_pair_and_all_magnitudes_are_trained_and_one_magnitude_moves_all_blocks() -> None:
    model = network()
    module = of_pairs(DecoupledLoRA(model, [0, 1]), 2)
    module.attach(model)
    model(torch.randn(2, 3, 32, 32, generator=generator())).square().sum().backward()
    with_gradient = {name for name, value in module.named_parameters() if value.grad is not None and value.grad.any()}
    pairs = {f"parts.{block}_{target}.{half}.1" for block in (0, 1) for target in "qv" for half in ("downs", "ups")}
    assert with_gradient == {*pairs, "magnitudes.0", "magnitudes.1"}
    inputs = torch.randn(1, 4, 32, generator=generator())
    before = [block.attn.qkv(inputs) for block in model.blocks]
    module.magnitudes[0].data.add_(0.5)
    for block, then in zip(model.blocks, before, strict=True):
        moved = (block.attn.qkv(inputs) - then).chunk(3, dim=-1)
        assert [bool(one.any()) for one in moved] == [True, False, True]


def test_a_direction_that_is_a_sum_of_others_is_found_and_dropped() -> None:
    """The third is 0.4 of the first and -2 of the second, in all projections; rank 6 holds it exactly."""
    model = network()
    module = of_pairs(DecoupledLoRA(model, [0, 1]), 2)
    module.add(6, 1.0, generator())
    for part in module.directions:
        first, second = part.ups[0] / part.norms[0], part.ups[1] / part.norms[1]
        part.ups[2].data.copy_(torch.cat([0.4 * first, -2 * second], dim=1))
        part.downs[2].data.copy_(torch.cat([part.downs[0], part.downs[1]]))
    fit, left = module.fit_of_last()
    torch.testing.assert_close(fit, torch.tensor([0.4, -2.0]), atol=1e-4, rtol=1e-4)
    assert abs(left) < 1e-6
    module.attach(model)
    images = torch.randn(2, 3, 32, 32, generator=generator())
    before = model(images)
    for value, share in zip(module.magnitudes, fit, strict=False):
        value.data.add_(share * module.magnitudes[2].detach())
    module.drop_last()
    torch.testing.assert_close(model(images), before, atol=1e-5, rtol=1e-4)
    assert torch.equal(module.add(2, 0.8, generator()), torch.ones(4))  # the second was finished before
    torch.testing.assert_close(model(images), before, atol=1e-5, rtol=1e-4)


def test_a_direction_of_its_own_is_no_sum_of_others() -> None:
    assert of_pairs(DecoupledLoRA(network(), [0, 1]), 3).fit_of_last()[1] > 0.5


def test_a_direction_that_was_never_trained_adds_nothing() -> None:
    model = network()
    module = DecoupledLoRA(model, [0])
    images = torch.randn(2, 3, 32, 32, generator=generator())
    before = model(images)
    module.attach(model)
    for _ in range(3):
        module.add(2, 0.8, generator())
    assert torch.equal(model(images), before)


def test_ranks_may_differ_and_must_fit() -> None:
    module = DecoupledLoRA(network(), [0])
    for rank in (4, 2):
        module.add(rank, 0.8, generator())
    assert module.numel == 2 * 2 * 32 * (4 + 2) + 2
    with pytest.raises(UserError, match="rank is 33, but must be between 1 and 32"):
        module.add(33, 0.8, generator())
    with pytest.raises(UserError, match="targets has 'fc1': write some of q, k and v"):
        DecoupledLoRA(network(), [0], targets="q+fc1")


def test_a_first_magnitude_may_be_a_whole_number() -> None:
    module = DecoupledLoRA(network(), [0])
    module.add(2, 1, generator())
    assert [value.dtype for value in module.magnitudes] == [torch.float32]
