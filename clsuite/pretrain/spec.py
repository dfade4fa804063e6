"""The recipe of a pre-training. Needs no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from clsuite.config.spec import LARGEST_SEED, Spec


class PretrainSpec(Spec):
    """A recipe: the first blocks of a pre-trained ViT, fine-tuned to distinguish drawn characters.

    Attributes:
        name: Name of the resulting backbone.
        archives: Omniglot zip files, below the data root.
        rotations: Number of rotations by quarter turns (1 to 4); each rotation of a character is a separate class.
        architecture: timm architecture, also that of `teacher`.
        arguments: Arguments of ``timm.create_model`` for the small network.
        teacher: Weights (safetensors, below the data root) with which its first blocks are initialized.
        coarse: Share of the views that are reduced to 8 x 8 pixels and enlarged again.
        target: Class-mean accuracy on the digits that must be reached.
    """

    kind: Literal["drawings"] = "drawings"
    name: str
    archives: tuple[str, ...] = Field(min_length=1)
    rotations: int = Field(default=4, ge=1, le=4)
    architecture: str
    arguments: dict[str, int | bool | str]
    teacher: str
    epochs: int = Field(default=8, ge=1)
    batch_size: int = Field(default=256, ge=2)
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    coarse: float = Field(default=0.5, ge=0, le=1)
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    threads: int = Field(default=2, ge=1)
    target: float = Field(default=0.93, ge=0, le=1)
