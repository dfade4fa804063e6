"""`CLSUITE_FAST_PATHS=0`: the same numbers without any shortcut, each beside its claim."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from clsuite.backbones import vit
from clsuite.backbones.slow_kernels import PatchProjection, avoid_slow_kernels
from clsuite.backbones.spec import BackboneSpec, find_weights
from clsuite.backbones.vit import Backbone, build_backbone
from clsuite.config.fast_paths import VARIABLE, fast_paths
from clsuite.data import buffer_pool
from clsuite.data.transforms import Normalize
from clsuite.runner.environment import describe_environment
from clsuite.stream.loop import Stream
from clsuite_plugins.replay import Replay

IMAGES = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def backbone() -> Backbone:
    return build_backbone(BackboneSpec(), find_weights(BackboneSpec(), []))


def with_gradients(network: Backbone) -> list[Tensor]:
    """Features of the images, and the gradient of each weight."""
    network.zero_grad()
    features = network(network.normalize(IMAGES))
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(1))
    torch.autograd.backward((features * weights).sum())
    return [features.detach(), *(value.grad for value in network.parameters() if value.grad is not None)]


def assert_close(first: list[Tensor], second: list[Tensor]) -> None:
    assert len(first) == len(second) > 1
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(one.abs().max()))


def test_the_variable_is_read_where_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fast_paths()
    assert "fast_paths" not in describe_environment(torch.device("cpu"), "32", 1)
    monkeypatch.setenv(VARIABLE, "0")
    assert not fast_paths()
    assert describe_environment(torch.device("cpu"), "32", 1)["fast_paths"] is False


def test_the_class_token_alone_gives_the_same_but_for_last_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    short = vit.class_token_features
    monkeypatch.setattr(vit, "class_token_features", lambda *given: taken.append(1) or short(*given))
    model = vit.timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=0)
    network = Backbone(model, (0.5,), (0.5,))
    fast = with_gradients(network)
    assert taken == [1]
    monkeypatch.setenv(VARIABLE, "0")
    slow = with_gradients(network)
    assert taken == [1]
    assert_close(fast, slow)


def test_matrix_products_give_the_same_but_for_last_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    fast, slow = backbone(), backbone()
    avoid_slow_kernels(fast)
    monkeypatch.setenv(VARIABLE, "0")
    avoid_slow_kernels(slow)
    assert type(fast.model.patch_embed.proj) is PatchProjection
    assert type(slow.model.patch_embed.proj) is torch.nn.Conv2d
    assert_close(with_gradients(fast), with_gradients(slow))


def test_memory_that_is_used_again_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer_pool, "SMALLEST", 1)
    normalize = Normalize((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))

    def places_and_values() -> tuple[set[int], list[Tensor]]:
        places, values = set(), []
        for start in range(6):
            batch = normalize(IMAGES[start:])
            places.add(batch.data_ptr())
            values.append(batch.clone())
        return places, values

    _, fast = places_and_values()
    assert normalize._memory._blocks
    normalize._memory._blocks.clear()
    monkeypatch.setenv(VARIABLE, "0")
    _, slow = places_and_values()
    assert not normalize._memory._blocks
    assert all(torch.equal(one, other) for one, other in zip(fast, slow, strict=True))


@pytest.mark.slow
def test_a_run_without_shortcuts_predicts_the_same(
    make_stream: Callable[..., Stream], monkeypatch: pytest.MonkeyPatch
) -> None:
    def predictions() -> dict[str, Any]:
        stream = make_stream(Replay(capacity=12))
        stream.run()
        return stream.matrix.arrays()

    fast = predictions()
    monkeypatch.setenv(VARIABLE, "0")
    slow = predictions()
    assert fast.keys() == slow.keys()
    for name in fast:
        assert (fast[name] == slow[name]).mean() > 0.99, name
