"""Augmentations as people write them, and what they are told about mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clsuite.config.yaml_models import load_yaml
from clsuite.data.augment_spec import PRESETS, STEPS, AugmentError, ColorJitter, Flip, RandAugment, ResizedCrop
from clsuite.errors import UserError
from clsuite.learner.options import TrainingSpec


def steps(value: Any) -> tuple[Any, ...]:
    return TrainingSpec.model_validate({"augment": value}).augment


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_by_name(name: str) -> None:
    assert steps(name) == PRESETS[name][1]


@pytest.mark.parametrize("name", sorted(STEPS))
def test_a_step_alone_has_its_defaults(name: str) -> None:
    assert steps(name) == steps([name]) == steps([{name: {}}]) or name in PRESETS
    assert steps([name]) == (STEPS[name](),)


def test_inline_steps() -> None:
    written = [{"resized_crop": {"scale": [0.7, 1]}}, "flip", {"color_jitter": {"hue": 0.1}}, {"rand_augment": None}]
    assert steps(written) == (ResizedCrop(scale=(0.7, 1.0)), Flip(), ColorJitter(hue=0.1), RandAugment())


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_what_a_record_holds_reads_back(name: str) -> None:
    spec = TrainingSpec.model_validate({"augment": name})
    assert TrainingSpec.model_validate_json(spec.model_dump_json()) == spec
    assert TrainingSpec.model_validate(spec.model_dump()) == spec


def test_nothing_is_the_default() -> None:
    assert TrainingSpec().augment == steps("none") == ()


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("imagnet", "unknown augmentation 'imagnet'. Did you mean 'imagenet'?"),
        (["flop"], "unknown augmentation step 'flop'. Did you mean 'flip'?"),
        ([{"resized_crop": {"scales": [0.5, 1]}}], "unknown parameter of 'resized_crop' 'scales'. Did you"),
        ([{"flip": {"p": 2}}], "flip.p is 2, but must be at most 1"),
        ([{"resized_crop": {"scale": [0.5, 2]}}], "resized_crop: scale is [0.5, 2.0], but must be two shares"),
        ([{"resized_crop": {"ratio": [2, 1]}}], "ratio is [2.0, 1.0], but must be 0 < least <= largest"),
        ([{"flip": 3}], "the parameters of 'flip' must be a mapping, not 3"),
        ([3], "a step is a name or {name: {parameter: value}}, not 3"),
        (7, "write the name of a preset, or a list of steps"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_with_the_mend(written: Any, complaint: str) -> None:
    with pytest.raises(ValueError) as caught:
        steps(written)
    message = caught.value.errors()[0]["msg"]  # type: ignore[attr-defined]
    assert complaint in message
    assert "\n" not in message
    assert issubclass(AugmentError, UserError)


def test_a_mistake_in_a_file_gets_its_line(tmp_path: Path) -> None:
    path = tmp_path / "training.yaml"
    path.write_text("epochs: 1\naugment: randagument\n")
    with pytest.raises(UserError, match=r"training\.yaml:2: augment: unknown augmentation 'randagument'"):
        load_yaml(path, TrainingSpec)
