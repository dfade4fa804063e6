"""Chooses the head, and what is trained of a backbone with two towers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from clsuite.backbones.class_texts import ClassTexts
from clsuite.backbones.clip import ClipBackbone, clip_of
from clsuite.backbones.vit import Backbone
from clsuite.data.class_names import ClassName
from clsuite.learner.head import GrowingHead, Head
from clsuite.learner.options import TrainingSpec


class ZeroShotHead(Head):
    """Scaled cosines to the text features of the seen classes' names; it has no weights of its own.

    What is trained is the image tower, the text tower, or both (``training.tune``). Only seen classes compete in
    training; in evaluations the others can be predicted too (`by_name`).
    """

    open_vocabulary: ClassVar[bool] = True

    def __init__(self, backbone: ClipBackbone, learns_with_first: bool = False) -> None:
        """Make a head without classes on top of a CLIP, which it does not own.

        Args:
            backbone: The CLIP.
            learns_with_first: Whether the first template of a class is used alone while training (in ``train`` mode).
        """
        super().__init__()
        self._learns_with_first = learns_with_first
        self._text_tower = (backbone,)  # in a tuple, so that its parameters are not registered twice
        self._sizes: list[int] = []

    @property
    def sizes(self) -> list[int]:
        """Classes of each group."""
        return list(self._sizes)

    def begin(self, class_names: Sequence[ClassName]) -> None:
        """Tokenize the prompts of all classes of the stream."""
        self._texts = ClassTexts(self._text_tower[0], class_names)
        self._learned = (
            ClassTexts(self._text_tower[0], class_names, first_only=True) if self._learns_with_first else self._texts
        )

    def grow(self, classes: int, generator: torch.Generator) -> None:
        """Let the next classes compete."""
        self._sizes.append(classes)

    def forward(self, features: Tensor) -> Tensor:
        """Map image features ``[B, width]`` to logits ``[B, classes]``, float32 in every precision."""
        return (self._learned if self.training else self._texts).logits(features, self.classes)

    def by_name(self, features: Tensor, classes: int) -> Tensor:
        """Map image features ``[B, width]`` to logits ``[B, classes]`` of the stream's first classes, seen or not."""
        return self._texts.logits(features, classes)


def make_head(backbone: Backbone, options: TrainingSpec) -> Head:
    """Make the head that the options ask for.

    Raises:
        UserError: If it needs CLIP and the backbone is none.
    """
    if options.head == "zero_shot":
        return ZeroShotHead(clip_of(backbone, "training.head: zero_shot"), options.templates == "first")
    return GrowingHead(backbone.width, options.head == "cosine", options.first_values, options.head_scale)


def choose_towers(backbone: Backbone, options: TrainingSpec) -> None:
    """Freeze the tower that is not trained.

    Raises:
        UserError: If the backbone has no text tower to train.
    """
    if isinstance(backbone, ClipBackbone) or options.tune != "image":
        clip_of(backbone, f"training.tune: {options.tune}").tune(options.tune, options.logit_scale == "trained")
