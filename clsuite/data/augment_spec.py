"""Augmentation in a benchmark file: named presets, or steps with their parameters. Needs no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from clsuite.config.error_text import first_mistake
from clsuite.config.spec import Spec
from clsuite.errors import InputWarning, UserError, did_you_mean, warn_of

Range = tuple[float, float]


class AugmentError(UserError, ValueError):
    """An invalid augmentation; because it is a `ValueError` too, pydantic reports it with its line in a YAML file."""


class _Step(Spec):
    """Base class of all steps."""


class Flip(_Step):
    """Mirror images left to right.

    Attributes:
        p: Probability that an image is mirrored.
    """

    kind: Literal["flip"] = "flip"
    p: float = Field(default=0.5, ge=0, le=1)


class Crop(_Step):
    """Pad all edges, then cut a window of the original size at a random position.

    Attributes:
        padding: Share of the side that is added at each edge; 1/8 corresponds to the usual 4 of CIFAR's 32 pixels.
        mode: Fill with zeros (``constant``) or with the mirrored image (``reflect``).
    """

    kind: Literal["crop"] = "crop"
    padding: float = Field(default=0.125, ge=0, lt=1)
    mode: Literal["constant", "reflect"] = "constant"


class ResizedCrop(_Step):
    """Cut a random box and resize it back bilinearly, as torchvision's ``RandomResizedCrop`` draws it.

    Attributes:
        scale: Smallest and largest area, as shares of the image's area.
        ratio: Smallest and largest aspect ratio (width over height).
    """

    kind: Literal["resized_crop"] = "resized_crop"
    scale: Range = (0.08, 1.0)
    ratio: Range = (3 / 4, 4 / 3)

    @model_validator(mode="after")
    def _ordered(self) -> ResizedCrop:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale is {list(self.scale)}, but must be two shares, 0 < least <= largest <= 1")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio is {list(self.ratio)}, but must be 0 < least <= largest")
        return self


class ColorJitter(_Step):
    """Change brightness, contrast, saturation and hue, in a random order for each sample.

    Attributes:
        brightness: The factor is uniform in [max(0, 1 - brightness), 1 + brightness].
        contrast: Likewise.
        saturation: Likewise; it has no effect on gray images.
        hue: The shift is uniform in [-hue, hue] of the color circle; it has no effect on gray images.
        p: Probability that a sample is jittered at all.
    """

    kind: Literal["color_jitter"] = "color_jitter"
    brightness: float = Field(default=0.4, ge=0)
    contrast: float = Field(default=0.4, ge=0)
    saturation: float = Field(default=0.4, ge=0)
    hue: float = Field(default=0.0, ge=0, le=0.5)
    p: float = Field(default=1.0, ge=0, le=1)


class RandAugment(_Step):
    """RandAugment (Cubuk et al. 2020, section 3), with torchvision's operations and ranges.

    Attributes:
        operations: Number of operations in a row, each drawn with equal probability.
        magnitude: Strength of each operation, out of 30.
    """

    kind: Literal["rand_augment"] = "rand_augment"
    operations: int = Field(default=2, ge=0)
    magnitude: int = Field(default=9, ge=0, le=30)


class TrivialAugment(_Step):
    """TrivialAugment Wide (Müller and Hutter 2021, algorithm 1): one operation of a strength uniform in 0 to 30."""

    kind: Literal["trivial_augment"] = "trivial_augment"


class AugMix(_Step):
    """AugMix (Hendrycks et al. 2020, algorithm 1): only the mixing, without the consistency loss.

    Attributes:
        severity: Strengths are drawn from the lowest `severity` of ten levels.
        width: Number of chains that are mixed.
        depth: Length of the longest chain; lengths are uniform from one to this.
        alpha: Parameter of the Dirichlet and the Beta distribution.
    """

    kind: Literal["augmix"] = "augmix"
    severity: int = Field(default=3, ge=1, le=10)
    width: int = Field(default=3, ge=1)
    depth: int = Field(default=3, ge=1)
    alpha: float = Field(default=1.0, gt=0)


AnyStep = Flip | Crop | ResizedCrop | ColorJitter | RandAugment | TrivialAugment | AugMix
Step = Annotated[AnyStep, Field(discriminator="kind")]
Steps = tuple[AnyStep, ...]

STEPS: dict[str, type[AnyStep]] = {
    str(kind.model_fields["kind"].default): kind
    for kind in (Flip, Crop, ResizedCrop, ColorJitter, RandAugment, TrivialAugment, AugMix)
}
"""The steps by name."""
FORMER_NAMES = {"colour_jitter": "color_jitter"}
"""Former names of steps in older benchmark files."""

_IMAGENET: Steps = (ResizedCrop(), Flip())

PRESETS: dict[str, tuple[str, Steps]] = {
    "none": ("images as they are", ()),
    "flip": ("mirrored with probability 1/2", (Flip(),)),
    "crop_flip": ("mild: boxes of 50 to 100 % of the area, mirrored", (ResizedCrop(scale=(0.5, 1.0)), Flip())),
    "imagenet": ("boxes of 8 to 100 % of the area, mirrored (ImageNet training; CODA-Prompt's code)", _IMAGENET),
    "prompt": (
        "boxes of 5 to 100 % of the area, mirrored (PyTorch ports of L2P and DualPrompt)",
        (ResizedCrop(scale=(0.05, 1.0)), Flip()),
    ),
    "cifar": ("padded by 4 of 32 pixels and cut back, mirrored (ResNets on CIFAR)", (Crop(), Flip())),
    "cifar_vit": (
        "boxes of 70 to 100 % of the area, mirrored (ViTs on enlarged CIFAR)",
        (ResizedCrop(scale=(0.7, 1.0)), Flip()),
    ),
    "jitter": ("imagenet, then brightness, contrast and saturation by up to 40 %", (*_IMAGENET, ColorJitter())),
    "randaugment": ("imagenet, then RandAugment with 2 operations of magnitude 9", (*_IMAGENET, RandAugment())),
    "trivialaugment": ("imagenet, then TrivialAugment Wide", (*_IMAGENET, TrivialAugment())),
    "augmix": ("imagenet, then AugMix of severity 3", (*_IMAGENET, AugMix())),
}
"""Named augmentations: a one-line description and the steps of each."""


def read_augmentation(value: Any) -> Any:
    """Read a preset's name or a list of steps; a value that has been read already is returned unchanged.

    A step is its name (with default parameters), ``{name: {parameter: value}}``, or the form that records store.

    Raises:
        AugmentError: If a preset, step or parameter is unknown, or a value is invalid; in one line.
    """
    if isinstance(value, str):
        if value in PRESETS:
            return PRESETS[value][1]
        if value in STEPS:
            return (STEPS[value](),)
        raise AugmentError(str(did_you_mean("augmentation", value, {*PRESETS, *STEPS})))
    if not isinstance(value, list | tuple):
        raise AugmentError("write the name of a preset, or a list of steps such as [{resized_crop: {scale: [0.7, 1]}}]")
    return tuple(_read_step(step) for step in value)


def _read_step(value: Any) -> AnyStep:
    if isinstance(value, _Step):
        return value  # type: ignore[return-value]
    if isinstance(value, str):
        name, parameters = value, {}
    elif isinstance(value, dict) and "kind" in value:
        name, parameters = str(value["kind"]), {key: argument for key, argument in value.items() if key != "kind"}
    elif isinstance(value, dict) and len(value) == 1:
        name, parameters = next((str(key), argument or {}) for key, argument in value.items())
    else:
        raise AugmentError(f"a step is a name or {{name: {{parameter: value}}}}, not {value!r}")
    if name in FORMER_NAMES:
        warn_of(f"the augmentation step '{name}' is called '{FORMER_NAMES[name]}' now: write that", InputWarning)
        name = FORMER_NAMES[name]
    if name not in STEPS:
        raise AugmentError(str(did_you_mean("augmentation step", name, STEPS)))
    if not isinstance(parameters, dict):
        raise AugmentError(f"the parameters of '{name}' must be a mapping, not {parameters!r}")
    return _make(name, parameters)


def _make(name: str, parameters: dict[str, Any]) -> AnyStep:
    known = [field for field in STEPS[name].model_fields if field != "kind"]
    for parameter in parameters:
        if parameter not in known:
            raise AugmentError(str(did_you_mean(f"parameter of '{name}'", str(parameter), known)))
    try:
        return STEPS[name](**parameters)
    except ValidationError as error:
        raise AugmentError(first_mistake(error, name, f"{name}.")) from error


Augment = Annotated[tuple[Step, ...], BeforeValidator(read_augmentation)]
"""The type of a field that holds an augmentation."""
