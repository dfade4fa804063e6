"""The recipe for a small CLIP. Needs no torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from clsuite.backbones.templates import resolve_set
from clsuite.config.spec import LARGEST_SEED, Spec


class ClassifierSpec(Spec):
    """The image tower's own classifier as a teacher of the names of its classes.

    Attributes:
        classes: The classes of the classifier, by timm's name of them.
        weight: Weight of the loss, one minus the cosine between a caption and the classifier's row.
        batch_size: Number of classes whose captions are drawn for a step.
        templates: Prompts for the names of the classes, from OpenCLIP's list and WordNet's lemmas.
        definitions: How often WordNet's definition of a class, alone and after its name, stands among its captions.
    """

    classes: Literal["imagenet-1k", "imagenet-12k", "imagenet-21k"] = "imagenet-1k"
    weight: float = Field(default=1.0, gt=0)
    batch_size: int = Field(default=128, ge=1)
    templates: tuple[str, ...] = Field(default=("{}", "a photo of a {}."), min_length=1)
    definitions: int = Field(default=2, ge=0)

    @field_validator("templates", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return resolve_set(value) if isinstance(value, str | list | tuple) else value


class ClipPretrainSpec(Spec):
    """A recipe: a text tower trained against a pre-trained image tower, on images with class names.

    Zhai et al. 2022, "LiT: zero-shot transfer with locked-image text tuning".

    Attributes:
        name: Name of the output files.
        model: The CLIP, by a name as in ``backbone.name``; its image tower must be a timm model.
        image_tower: Weights of the image tower (timm's format, below the data root).
        lock: Whether the image tower is frozen (LiT) or trained too.
        images: Folder ``CLASS/*``, below the data root.
        names: File in that folder with lines ``CLASS<TAB>name, other name, ...``; without it folders name the classes.
        templates: Prompts from which training draws: a named set or a list.
        held_out_images: Number of images of each class that are not used for training.
        held_out_classes: Classes whose images and names are not used for training.
        classifier: Whether names are learned from the image tower's own classifier too, and how.
        probes: Further folders ``CLASS/*`` on which zero-shot accuracy is measured, by their name in the card.
        probe_names: Files with lines ``CLASS<TAB>name, other name, ...`` in these folders, by the name of the probe.
        target: Zero-shot accuracy on held-out images (of the trained classes) that must be reached.
    """

    kind: Literal["clip"]
    name: str
    model: str
    image_tower: str
    lock: bool = True
    images: str
    names: str | None = None
    image_size: int = Field(default=128, ge=1)
    templates: tuple[str, ...] = Field(default=("a photo of a {}.",), min_length=1)
    held_out_images: int = Field(default=10, ge=1)
    held_out_classes: int = Field(default=20, ge=2)
    classifier: ClassifierSpec | None = None
    probes: dict[str, str] = Field(default_factory=dict)
    probe_names: dict[str, str] = Field(default_factory=dict)
    epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=256, ge=2)
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.1, ge=0)
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    threads: int = Field(default=1, ge=1)
    target: float = Field(default=0.0, ge=0, le=1)

    @field_validator("templates", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return resolve_set(value) if isinstance(value, str | list | tuple) else value
