"""The head grows by whole groups; what it has learned stays the same objects."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from clsuite.learner.head import GrowingHead


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grown(*sizes: int, width: int = 5, cosine: bool = False) -> GrowingHead:
    head, draws = GrowingHead(width, cosine), generator()
    for size in sizes:
        head.grow(size, draws)
    return head


def test_it_starts_without_classes() -> None:
    head = GrowingHead(5)
    assert head.classes == 0
    assert head.sizes == []
    assert list(head.parameters()) == []


@pytest.mark.parametrize("cosine", [False, True])
def test_sizes_add_up(cosine: bool) -> None:
    head = grown(3, 1, 2, cosine=cosine)
    assert head.sizes == [3, 1, 2]
    assert head.classes == 6
    assert head(torch.randn(4, 5)).shape == (4, 6)


@pytest.mark.parametrize("cosine", [False, True])
def test_growing_leaves_old_parameters_and_old_logits(cosine: bool) -> None:
    head = grown(3, cosine=cosine)
    features = torch.randn(4, 5, generator=generator(1))
    old, before = list(head.parameters()), head(features)
    names = set(head.state_dict())
    head.grow(2, generator(2))
    assert all(any(parameter is kept for kept in head.parameters()) for parameter in old)
    torch.testing.assert_close(head(features)[:, :3], before)
    assert names < set(head.state_dict())


def test_the_column_of_a_class_is_its_stream_label() -> None:
    head = grown(2, 3)
    with torch.no_grad():
        for group in head.groups:
            group.weight.zero_()
            group.bias.zero_()
        head.groups[1].bias[1] = 7.0
    assert head(torch.randn(1, 5)).tolist() == [[0, 0, 0, 7, 0]]


def test_linear_logits_by_hand() -> None:
    head = grown(2, 1)
    with torch.no_grad():
        head.groups[0].bias.copy_(torch.tensor([1.0, -1.0]))
    features = torch.randn(4, 5, generator=generator(1))
    weight = torch.cat([group.weight for group in head.groups])
    torch.testing.assert_close(head(features), features @ weight.T + torch.tensor([1.0, -1.0, 0.0]))


def test_cosine_logits_by_hand() -> None:
    head = grown(2, 1, cosine=True)
    features = torch.randn(4, 5, generator=generator(1))
    weight = torch.cat([group.weight for group in head.groups])
    expected = torch.stack([F.cosine_similarity(features, row[None], dim=1) for row in weight], dim=1)
    torch.testing.assert_close(head(features), 10 * expected)


def test_cosine_logits_do_not_depend_on_lengths() -> None:
    head = grown(2, 2, cosine=True)
    features = torch.randn(4, 5, generator=generator(1))
    before = head(features)
    with torch.no_grad():
        head.groups[0].weight.mul_(9)
    torch.testing.assert_close(head(3 * features), before)


def test_only_a_cosine_head_has_a_scale_and_no_biases() -> None:
    cosine = {name for name, _ in grown(2, 2, cosine=True).named_parameters()}
    linear = {name for name, _ in grown(2, 2).named_parameters()}
    assert cosine == {"scale", "groups.0.weight", "groups.1.weight"}
    assert linear == {f"groups.{group}.{kind}" for group in (0, 1) for kind in ("weight", "bias")}


def test_weights_follow_the_generator_and_not_the_global_seed() -> None:
    torch.manual_seed(1)
    first = grown(4, 4).state_dict()
    torch.manual_seed(2)
    again = grown(4, 4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = GrowingHead(5)
    other.grow(4, generator(9))
    assert not torch.equal(other.groups[0].weight, first["groups.0.weight"])


def test_weights_start_small_and_biases_at_zero() -> None:
    head = grown(50, width=200)
    weight = head.groups[0].weight.detach()
    assert abs(float(weight.mean())) < 1e-3
    assert float(weight.std()) == pytest.approx(0.001, rel=0.05)
    assert not head.groups[0].bias.any()


@pytest.mark.parametrize("cosine", [False, True])
def test_the_state_fits_a_head_that_grew_alike(cosine: bool) -> None:
    head, other = grown(2, 3, cosine=cosine), GrowingHead(5, cosine)
    for size in head.sizes:
        other.grow(size, generator(8))
    other.load_state_dict(head.state_dict())
    features = torch.randn(3, 5)
    assert torch.equal(other(features), head(features))


def test_a_new_group_goes_where_the_old_ones_are() -> None:
    head = grown(2).to("meta")
    head.grow(3, generator())
    assert {parameter.device.type for parameter in head.parameters()} == {"meta"}


def test_cosines_are_computed_in_full_precision() -> None:
    head = GrowingHead(32, cosine=True)
    generator = torch.Generator().manual_seed(0)
    head.grow(40, generator)
    features = torch.randn(200, 32, generator=generator)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        low = head(features)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, head(features).detach(), rtol=0, atol=0)
