"""Augmentation of whole batches: per sample, decided by the generator alone, and equal to torchvision's per image."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import autoaugment as oracle
from torchvision.transforms.v2 import functional as F

from clsuite.data import auto_augment, geometry
from clsuite.data.augment import augment
from clsuite.data.augment_spec import (
    PRESETS,
    STEPS,
    AnyStep,
    AugMix,
    ColorJitter,
    Crop,
    Flip,
    RandAugment,
    ResizedCrop,
)
from clsuite.data.color_jitter import adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation
from clsuite.data.geometry import cut_boxes, cut_together, draw_boxes
from clsuite.data.per_sample import by_group

ALL = {**{name: steps for name, (_, steps) in PRESETS.items() if steps}, **{n: (s(),) for n, s in STEPS.items()}}
WITHOUT_EFFECT = {
    "flip": Flip(p=0.0),
    "crop": Crop(padding=0.0),
    "resized_crop": ResizedCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0)),
    "color_jitter": ColorJitter(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0),
    "unlikely jitter": ColorJitter(p=0.0),
    "rand_augment": RandAugment(operations=0),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(number: int = 8, channels: int = 3, height: int = 16, width: int = 16, seed: int = 9) -> Tensor:
    return torch.randint(0, 256, (number, channels, height, width), dtype=torch.uint8, generator=generator(seed))


def copies(number: int = 64) -> Tensor:
    return noise(1).expand(number, -1, -1, -1).contiguous()


def different(images: Tensor) -> int:
    return len(torch.unique(images.flatten(1), dim=0))


def assert_levels(actual: Tensor, expected: Tensor, levels: int) -> None:
    assert (actual.int() - expected.int()).abs().max() <= levels


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", sorted(ALL))
class TestEveryAugmentation:
    def test_shape_type_and_input_stay(self, name: str, channels: int) -> None:
        images = noise(5, channels, 12, 20)
        before = images.clone()
        augmented = augment(ALL[name], images, generator())
        assert augmented.shape == images.shape
        assert augmented.dtype == torch.uint8
        assert torch.equal(images, before)

    def test_the_generator_decides_alone(self, name: str, channels: int) -> None:
        images = noise(16, channels)
        torch.manual_seed(0)
        first = augment(ALL[name], images, generator(1))
        torch.manual_seed(5)
        assert torch.equal(augment(ALL[name], images, generator(1)), first)
        assert not torch.equal(augment(ALL[name], images, generator(2)), first)

    def test_a_sample_does_not_depend_on_the_others(self, name: str, channels: int) -> None:
        images, others = noise(16, channels), noise(16, channels, seed=3)
        others[5] = images[5]
        one, other = augment(ALL[name], images, generator(1)), augment(ALL[name], others, generator(1))
        assert torch.equal(one[5], other[5])

    def test_a_second_batch_is_augmented_otherwise(self, name: str, channels: int) -> None:
        images, running = noise(16, channels), generator()
        assert not torch.equal(augment(ALL[name], images, running), augment(ALL[name], images, running))


@pytest.mark.parametrize(
    "name", ["crop", "resized_crop", "color_jitter", "rand_augment", "trivial_augment", "augmix"]
)  # fmt: skip
def test_samples_get_their_own_parameters(name: str) -> None:
    assert different(augment(ALL[name], copies(), generator())) > 12


@pytest.mark.parametrize("name", sorted(WITHOUT_EFFECT))
def test_without_magnitude_nothing_changes(name: str) -> None:
    assert torch.equal(augment((WITHOUT_EFFECT[name],), noise(), generator()), noise())


def test_flip_mirrors_about_half_of_the_samples() -> None:
    images = copies(1000)
    flipped = augment((Flip(),), images, generator())
    mirrored = (flipped == images.flip(-1)).flatten(1).all(dim=1)
    left = (flipped == images).flatten(1).all(dim=1)
    assert (mirrored ^ left).all()
    assert 430 < int(mirrored.sum()) < 570


@pytest.mark.parametrize("side", [32, 96])
@pytest.mark.parametrize("cut", [ResizedCrop(), Crop()])
def test_a_flip_behind_a_crop_is_the_flip_of_what_the_crop_gave(cut: AnyStep, side: int) -> None:
    images = torch.randint(256, (40, 3, side, side), dtype=torch.uint8, generator=generator())
    before, one, other = images.clone(), generator(), generator()
    both = augment((cut, Flip()), images, one)
    first = augment((cut,), images, other)
    kept = first.clone()
    assert torch.equal(both, augment((Flip(),), first, other))
    assert torch.equal(first, kept)
    assert torch.equal(images, before)


@pytest.mark.slow
@given(
    seed=st.integers(0, 2**31),
    sides=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    least=st.floats(0.01, 1.0),
    ratio=st.floats(1.0, 6.0),
)
def test_boxes_lie_in_the_image(seed: int, sides: tuple[int, int], least: float, ratio: float) -> None:
    height, width = sides
    boxes = draw_boxes(16, height, width, (least, 1.0), (1 / ratio, ratio), generator(seed))
    top, left, high, wide = boxes.unbind(dim=1)
    assert (boxes[:, 2:] >= 1).all()
    assert (boxes[:, :2] >= 0).all()
    assert (top + high <= height).all()
    assert (left + wide <= width).all()


def test_boxes_are_distributed_as_those_of_torchvision() -> None:
    torch.manual_seed(0)
    image, scale, ratio = torch.zeros(3, 90, 128), (0.08, 1.0), (3 / 4, 4 / 3)
    theirs = torch.tensor([RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(4000)]).double()
    ours = draw_boxes(4000, 90, 128, scale, ratio, generator(0)).double()
    shares = torch.tensor([0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98], dtype=torch.float64)
    torch.testing.assert_close(ours.quantile(shares, dim=0), theirs.quantile(shares, dim=0), rtol=0.03, atol=3.0)
    areas = [(boxes[:, 2] * boxes[:, 3]).quantile(shares) / (90 * 128) for boxes in (ours, theirs)]
    torch.testing.assert_close(areas[0], areas[1], rtol=0.05, atol=0.02)


@pytest.mark.parametrize(("height", "width"), [(10, 60), (60, 10), (20, 20)])
def test_where_no_box_fits_it_is_torchvisions_central_one(height: int, width: int) -> None:
    """A box as large as the image, of another shape, never fits."""
    scale, ratio = (1.0, 1.0), (1.2, 1.3)
    theirs = RandomResizedCrop.get_params(torch.zeros(3, height, width), list(scale), list(ratio))
    assert draw_boxes(3, height, width, scale, ratio, generator()).tolist() == [list(theirs)] * 3


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_cut_boxes_are_those_of_torchvision(channels: int, antialias: bool) -> None:
    images = noise(24, channels, 20, 28)
    boxes = draw_boxes(24, 20, 28, (0.05, 1.0), (0.5, 2.0), generator(4))
    expected = [
        F.resized_crop(image, *box, size=[20, 28], antialias=antialias)
        for image, box in zip(images, boxes.tolist(), strict=True)
    ]
    assert_levels(cut_boxes(images, boxes), torch.stack(expected), 1)
    assert_levels(cut_together(images, boxes), torch.stack(expected), 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_layout_of_boxes_changes_no_bit(channels: int) -> None:
    """Against torch's kernel on planes of color, as tables have them; the input stays."""
    images = noise(12, channels, 40, 72)
    before = images.clone()
    boxes = draw_boxes(12, 40, 72, (0.05, 1.0), (0.5, 2.0), generator(4))
    expected = [
        interpolate(images[i : i + 1, :, top : top + height, left : left + width], size=(40, 72), mode="bilinear")
        for i, (top, left, height, width) in enumerate(boxes.tolist())
    ]
    assert torch.equal(cut_boxes(images, boxes), torch.cat(expected))
    assert torch.equal(images, before)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_large_images_are_mirrored_as_small_ones(
    memory_format: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = noise(50, 3, 8, 12).contiguous(memory_format=memory_format)
    before = images.clone()
    together = augment((Flip(),), images, generator())
    monkeypatch.setattr(geometry, "LARGE", 0)
    assert torch.equal(augment((Flip(),), images, generator()), together)
    assert torch.equal(images, before)


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_crops_are_windows_of_the_padded_image(mode: str) -> None:
    images = noise(200, 1, 8, 16)
    cut = augment((Crop(padding=0.25, mode=mode),), images, generator())
    padded = F.pad(images, [4, 2, 4, 2], padding_mode=mode)
    windows = padded.unfold(2, 8, 1).unfold(3, 16, 1)
    found = (windows == cut[:, :, None, None]).all(dim=-1).all(dim=-1)[:, 0]
    assert found.flatten(1).any(dim=1).all()
    assert found.any(dim=0).all(), "every place occurs"


ADJUSTMENTS = [
    (adjust_brightness, F.adjust_brightness, (0.0, 0.3, 1.0, 1.7)),
    (adjust_contrast, F.adjust_contrast, (0.0, 0.3, 1.0, 1.7)),
    (adjust_saturation, F.adjust_saturation, (0.0, 0.3, 1.0, 1.7)),
    (adjust_hue, F.adjust_hue, (-0.5, -0.2, 0.0, 0.35)),
]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("ours", "theirs", "factors"), ADJUSTMENTS)
def test_colors_are_adjusted_as_by_torchvision(ours, theirs, factors, channels: int) -> None:  # type: ignore[no-untyped-def]
    images = noise(4, channels)
    images[:, :, 0, :4] = torch.tensor([0, 255, 128, 1], dtype=torch.uint8)
    expected = torch.stack([theirs(image, factor) for image, factor in zip(images, factors, strict=True)])
    assert_levels(ours(images, torch.tensor(factors)), expected, 1)


def test_jitter_reaches_its_bounds_and_not_beyond() -> None:
    gray = torch.full((2000, 1, 1, 1), 100, dtype=torch.uint8)
    only = ColorJitter(brightness=0.4, contrast=0.0, saturation=0.0)
    values = augment((only,), gray, generator()).flatten()
    assert 59 <= values.min() <= 61
    assert 139 <= values.max() <= 140
    sometimes = augment((only.model_copy(update={"p": 0.25}),), gray, generator()).flatten()
    assert 420 < int((sometimes != 100).sum()) < 560


NAMES = {
    "shear_x": "ShearX", "shear_y": "ShearY", "translate_x": "TranslateX", "translate_y": "TranslateY",
    "rotate": "Rotate", "brightness": "Brightness", "color": "Color", "contrast": "Contrast",
    "sharpness": "Sharpness", "posterize": "Posterize", "solarise": "Solarize", "autocontrast": "AutoContrast",
    "equalise": "Equalize", "identity": "Identity",
}  # fmt: skip
SPACES = [
    (auto_augment.RAND, oracle.RandAugment(), 9),
    (auto_augment.RAND, oracle.RandAugment(), 30),
    (auto_augment.TRIVIAL, oracle.TrivialAugmentWide(), 17),
    (auto_augment.AUGMIX, oracle.AugMix(), 2),
]


@pytest.mark.parametrize(("space", "theirs", "strength"), SPACES)
@pytest.mark.parametrize("name", sorted(NAMES))
def test_operations_and_ranges_are_those_of_torchvision(name, space, theirs, strength) -> None:  # type: ignore[no-untyped-def]
    """Their table gives the magnitude, their function for single images the result."""
    if name == "identity" and not space.identity:
        assert "Identity" not in theirs._augmentation_space(10, (16, 24))
        return
    images = noise(3, 3, 16, 24)
    arguments = {"num_bins": space.bins} if space is not auto_augment.RAND else {"num_bins": 31}
    sizes = (16, 24)
    table = theirs._augmentation_space(arguments["num_bins"], *([sizes] if space is not auto_augment.TRIVIAL else []))
    magnitudes, signed = table[NAMES[name]]
    assert signed == (name in auto_augment.SIGNED)
    for sign in (1, -1) if signed else (1,):
        magnitude = sign * float(magnitudes[strength]) if magnitudes.ndim else 0.0
        ours = auto_augment.OPERATIONS[name](images, space, sign * strength / (space.bins - 1))
        expected = [oracle._apply_op(image, NAMES[name], magnitude, space.interpolation, None) for image in images]
        assert_levels(ours, torch.stack(expected), 1)


def test_operations_are_drawn_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: dict[tuple[str, float], int] = {}

    def recorder(name: str):  # type: ignore[no-untyped-def]
        def record(images: Tensor, space: auto_augment.Space, strength: float) -> Tensor:
            counts[name, strength] = counts.get((name, strength), 0) + len(images)
            return images

        return record

    monkeypatch.setattr(auto_augment, "OPERATIONS", {name: recorder(name) for name in auto_augment.OPERATIONS})
    augment((RandAugment(operations=1),), noise(2800, 1, 1, 1), generator())
    for name in auto_augment.OPERATIONS:
        strengths = sorted(strength for key, strength in counts if key == name)
        assert strengths == ([-0.3, 0.3] if name in auto_augment.SIGNED else [0.3])
        assert 150 < sum(counts[name, strength] for strength in strengths) < 255


def test_augmix_stays_between_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every operation paints black, the mix is the image times the original's share, uniform for alpha 1."""
    black = {name: lambda images, space, strength: torch.zeros_like(images) for name in auto_augment.OPERATIONS}
    monkeypatch.setattr(auto_augment, "OPERATIONS", black)
    mixed = augment((AugMix(),), torch.full((2000, 1, 1, 1), 200, dtype=torch.uint8), generator()).flatten().double()
    assert 90 < mixed.mean() < 110
    assert 52 < mixed.std() < 63
    assert mixed.max() <= 200


def test_augmix_of_unchanged_images_is_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    same = {name: lambda images, space, strength: images for name in auto_augment.OPERATIONS}
    monkeypatch.setattr(auto_augment, "OPERATIONS", same)
    assert_levels(augment((AugMix(),), noise(), generator()), noise(), 1)


def test_each_group_gets_its_own_operation_once() -> None:
    images, groups = noise(6, 1, 2, 2), torch.tensor([2, 0, 2, -1, 0, 2])
    calls: list[tuple[int, list[int]]] = []

    def apply(group: int, part: Tensor, index: Tensor) -> Tensor:
        calls.append((group, index.tolist()))
        assert torch.equal(part, images[index])
        return part // (group + 2)

    result = by_group(images, groups, apply)
    assert calls == [(-1, [3]), (0, [1, 4]), (2, [0, 2, 5])]
    assert torch.equal(result, images // (groups + 2).view(-1, 1, 1, 1).to(torch.uint8))


def test_steps_follow_one_another() -> None:
    steps: tuple[AnyStep, ...] = (Crop(), Flip())
    running, images = generator(), noise()
    apart = augment(steps[1:], augment(steps[:1], images, running), running)
    assert torch.equal(augment(steps, images, generator()), apart)
    assert math.isclose(Crop().padding * 32, 4)
