"""The LoRAs of CL-LoRA: orthonormal rows, weights of blocks, and weights of gradients."""

from __future__ import annotations

from typing import Any

import timm
import torch

from clsuite.peft import SharedLoRA, WeightedLoRA
from clsuite.peft.orthonormal_lora import row_weights


def network() -> Any:
    torch.manual_seed(0)
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=32, depth=3, num_heads=2, num_classes=0
    ).eval()


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_rows_are_orthonormal_and_those_of_the_shared_one_are_fixed() -> None:
    for module in (SharedLoRA(network(), [0, 1], 4, generator()), WeightedLoRA(network(), [0, 1], 4, generator())):
        for part in module.parts.values():
            torch.testing.assert_close(part.down @ part.down.T, torch.eye(4))  # type: ignore[operator, union-attr]
            assert part.down.requires_grad == isinstance(module, WeightedLoRA)
            assert part.up.requires_grad
            assert not part.up.any()  # type: ignore[operator]


def test_outputs_are_multiplied_with_the_weight_of_their_block_and_projection() -> None:
    model = network()
    module = WeightedLoRA(model, [1, 2], 4, generator())
    assert module.weights.shape == (3, 2)
    assert module.weights.min() >= 0.5
    assert module.weights.max() <= 1.5
    inputs = torch.randn(2, 5, 32, generator=generator())
    plain = model.blocks[2].attn.qkv(inputs)
    for part in module.parts.values():
        torch.nn.init.normal_(part.up, generator=generator())  # type: ignore[arg-type]
    module.attach(model)
    added = (model.blocks[2].attn.qkv(inputs) - plain).chunk(3, dim=-1)
    for place, target in ((0, "q"), (2, "v")):
        expected = module.weights[place, 1] * (inputs @ module.parts[f"2_{target}"].delta().T)  # type: ignore[operator]
        torch.testing.assert_close(added[place], expected, atol=1e-5, rtol=1e-4)
    assert not added[1].any()


def test_row_weights_have_a_mean_of_one() -> None:
    old = torch.randn(32, 4, generator=generator())
    weights = row_weights(old)
    torch.testing.assert_close(weights.mean(), torch.tensor(1.0))
    torch.testing.assert_close(weights[:, 0], 32 * old.norm(dim=1) / old.norm(dim=1).sum())
    assert torch.equal(row_weights(torch.zeros(3, 2)), torch.ones(3, 1))


def test_gradients_are_weighed_by_the_rows_of_an_earlier_matrix() -> None:
    module, before = (SharedLoRA(network(), [0], 2, generator()) for _ in range(2))
    for part in before.parts.values():
        part.up.data[:] = torch.arange(32.0)[:, None]  # type: ignore[operator, union-attr]
    for part in module.parts.values():
        part.up.grad = torch.ones(32, 2)
    module.parts["0_v"].up.grad = None  # type: ignore[union-attr]
    module.weigh_gradients(before)
    torch.testing.assert_close(module.parts["0_q"].up.grad[:, 1], torch.arange(32.0) / 15.5)  # type: ignore[index, union-attr]
    assert module.parts["0_v"].up.grad is None
