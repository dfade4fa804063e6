"""Captions of classes, and the contrastive loss between images and class captions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.backbones.clip import ClipBackbone


class Captions:
    """Draws one caption per class: a random name of the class in a random template."""

    def __init__(self, backbone: ClipBackbone, names: Sequence[Sequence[str]], templates: Sequence[str]) -> None:
        """Tokenize all names of all classes in all templates."""
        self._tokens = [
            backbone.tokenize([template.replace("{}", name) for name in own for template in templates]) for own in names
        ]

    def draw(self, generator: torch.Generator, classes: Sequence[int] | None = None) -> Tensor:
        """Draw a caption of each of some classes (None: of all); returns tokens ``[classes, context length]``."""
        chosen = self._tokens if classes is None else [self._tokens[label] for label in classes]
        drawn = [int(torch.randint(len(tokens), (1,), generator=generator)) for tokens in chosen]
        return torch.stack([tokens[index] for tokens, index in zip(chosen, drawn, strict=True)])


def class_contrastive_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Contrastive loss in which all images of a class share a caption.

    Yang et al. 2022, "Unified contrastive learning in image-text-label space", equations 2 and 3: images against
    captions, and captions against images, with equal weight for all positives of a caption.

    Args:
        logits: ``[B, C]`` scaled similarities between images and the captions of all classes.
        labels: ``[B]`` class of each image.

    Returns:
        The mean of both directions, a scalar.
    """
    positive = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    present = positive.sum(dim=0) > 0
    to_images = -(positive * F.log_softmax(logits, dim=0)).sum(dim=0)[present] / positive.sum(dim=0)[present]
    return 0.5 * (F.cross_entropy(logits, labels) + to_images.mean())
