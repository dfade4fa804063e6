"""Normalization of whole batches."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import functional

from clsuite.data import transforms
from clsuite.data.transforms import Normalize

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize("channels", [1, 3])
def test_normalize_is_that_of_torchvision(channels: int) -> None:
    images = torch.randint(0, 256, (4, channels, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    floats = functional.to_dtype(images.expand(-1, 3, -1, -1), torch.float32, scale=True)
    expected = functional.normalize(floats, list(MEAN), list(STD))
    torch.testing.assert_close(Normalize(MEAN, STD)(images), expected, rtol=1e-5, atol=1e-6)


def test_normalize_by_hand_and_without_state() -> None:
    module = Normalize((0.5, 0.5, 0.5), (0.5, 0.25, 1.0))
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
    expected = torch.tensor([[-1.0, -2.0, -0.5], [1.0, 2.0, 0.5]])
    torch.testing.assert_close(module(images)[:, :, 0, 0], expected)
    assert module.state_dict() == {}


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("at_once", [1, 3 * 35, 2 * 3 * 35, 10**6])
def test_normalize_gives_the_same_bits_however_many_images_go_at_once(
    at_once: int, memory_format: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.randint(0, 256, (5, 3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    module = Normalize(MEAN, STD)
    expected = images.float().sub(module.mean).div(module.std)
    monkeypatch.setattr(transforms, "CHUNK", at_once)
    answer = module(images.contiguous(memory_format=memory_format))
    assert torch.equal(answer, expected)
    assert answer.is_contiguous()
    assert module(images[:0]).shape == (0, 3, 5, 7)


@pytest.mark.parametrize("channels", [1, 3])
def test_normalize_leaves_its_input(channels: int) -> None:
    images = torch.full((2, channels, 2, 2), 7.0)
    Normalize(MEAN, STD)(images)
    assert (images == 7.0).all()
