"""Transforms on whole batches: random per sample, decided by the generator alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from clsuite.data.transforms import AUGMENTATIONS, Normalise, flip, resized_crop_flip

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def one_image_many_times(number: int = 64) -> Tensor:
    return torch.randn(1, 3, 6, 6, generator=generator(9)).expand(number, -1, -1, -1).contiguous()


def different(images: Tensor) -> int:
    return len(torch.unique(images.flatten(1), dim=0))


@pytest.mark.parametrize("channels", [1, 3])
def test_normalise_is_that_of_torchvision(channels: int) -> None:
    from torchvision.transforms.v2 import functional

    images = torch.randint(0, 256, (4, channels, 5, 7), dtype=torch.uint8, generator=generator())
    floats = functional.to_dtype(images.expand(-1, 3, -1, -1), torch.float32, scale=True)
    expected = functional.normalize(floats, list(MEAN), list(STD))
    torch.testing.assert_close(Normalise(MEAN, STD)(images), expected, rtol=1e-5, atol=1e-6)


def test_normalise_by_hand_and_without_state() -> None:
    module = Normalise((0.5, 0.5, 0.5), (0.5, 0.25, 1.0))
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
    expected = torch.tensor([[-1.0, -2.0, -0.5], [1.0, 2.0, 0.5]])
    torch.testing.assert_close(module(images)[:, :, 0, 0], expected)
    assert module.state_dict() == {}


@pytest.mark.parametrize("name", ["flip", "crop_flip"])
def test_the_generator_decides_alone(name: str) -> None:
    images = one_image_many_times()
    torch.manual_seed(0)
    first = AUGMENTATIONS[name](images, generator(1))
    torch.manual_seed(5)
    assert torch.equal(AUGMENTATIONS[name](images, generator(1)), first)
    assert not torch.equal(AUGMENTATIONS[name](images, generator(2)), first)


@pytest.mark.parametrize("name", ["flip", "crop_flip"])
def test_two_calls_differ(name: str) -> None:
    images, running = one_image_many_times(), generator()
    assert not torch.equal(AUGMENTATIONS[name](images, running), AUGMENTATIONS[name](images, running))


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_shape_type_and_input_stay(name: str) -> None:
    images = torch.randn(5, 3, 6, 9, generator=generator())
    before = images.clone()
    augmented = AUGMENTATIONS[name](images, generator())
    assert augmented.shape == images.shape
    assert augmented.dtype == images.dtype
    assert torch.equal(images, before)


def test_none_changes_nothing() -> None:
    images = one_image_many_times()
    assert torch.equal(AUGMENTATIONS["none"](images, generator()), images)


def test_flip_mirrors_about_half_of_the_samples() -> None:
    images = one_image_many_times(1000)
    flipped = flip(images, generator())
    mirrored = (flipped == images.flip(-1)).flatten(1).all(dim=1)
    left = (flipped == images).flatten(1).all(dim=1)
    assert (mirrored ^ left).all()
    assert 430 < int(mirrored.sum()) < 570


def test_crops_differ_from_sample_to_sample() -> None:
    assert different(one_image_many_times(64)) == 1
    assert different(resized_crop_flip(one_image_many_times(64), generator())) == 64


def test_crops_of_one_colour_stay_of_one_colour() -> None:
    colours = torch.randn(16, 3, 1, 1, generator=generator()).expand(-1, -1, 8, 8)
    torch.testing.assert_close(resized_crop_flip(colours, generator()), colours, rtol=1e-4, atol=1e-5)


def test_crops_invent_no_values() -> None:
    images = torch.rand(64, 3, 8, 8, generator=generator())
    cropped = resized_crop_flip(images, generator())
    low, high = images.amin((2, 3)), images.amax((2, 3))
    assert (cropped.amin((2, 3)) >= low - 1e-5).all()
    assert (cropped.amax((2, 3)) <= high + 1e-5).all()


def boxes(number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Width, height (shares of the image) and mirroring of the boxes, read off ramps along both axes."""
    size = 32
    ramp = torch.arange(size).float()
    ramps = torch.stack([ramp.expand(size, size), ramp[:, None].expand(size, size), torch.zeros(size, size)])
    cropped = resized_crop_flip(ramps.expand(number, -1, -1, -1), generator(3))
    across = cropped[:, 0, size // 2, size // 2] - cropped[:, 0, size // 2, size // 2 - 1]
    down = cropped[:, 1, size // 2, size // 2] - cropped[:, 1, size // 2 - 1, size // 2]
    return across.abs(), down, across < 0


def test_boxes_are_as_large_and_as_long_as_promised() -> None:
    """Area 0.5 to 1, aspect 3/4 to 4/3, and all of both ranges is used."""
    wide, high, mirrored = boxes(2000)
    area, aspect = wide * high, wide / high
    assert 0.499 < area.min() < 0.52
    assert 0.96 < area.max() < 1.001
    assert 0.749 < aspect.min() < 0.78
    assert 1.29 < aspect.max() < 1.335
    assert 900 < int(mirrored.sum()) < 1100


@pytest.mark.parametrize("axis", [0, 1])
def test_boxes_lie_anywhere_in_the_image(axis: int) -> None:
    """A box of the least width, 0.61, can be moved by 6 of 32 pixels from the middle, either way."""
    size = 32
    ramp = torch.arange(size).float().expand(size, size)
    ramp = ramp if axis else ramp.T
    cropped = resized_crop_flip(ramp.expand(2000, 3, -1, -1), generator(4))[:, 0]
    middle = cropped.mean(dim=(1, 2)) - (size - 1) / 2
    assert -6.3 < middle.min() < -4.5
    assert 4.5 < middle.max() < 6.3
    assert abs(float(middle.mean())) < 0.2


def test_a_vertical_mirror_never_happens() -> None:
    _, high, _ = boxes(200)
    assert (high > 0).all()
