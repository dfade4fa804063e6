"""Captions of classes, and the contrastive loss between images and captions of classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.backbones.clip import ClipBackbone


class Captions:
    """Draws one caption per class: one of its names in one of the templates."""

    def __init__(self, backbone: ClipBackbone, names: Sequence[Sequence[str]], templates: Sequence[str]) -> None:
        """Tokenize every name of every class in every template."""
        self._tokens = [
            backbone.tokenize([template.replace("{}", name) for name in own for template in templates]) for own in names
        ]

    def draw(self, generator: torch.Generator) -> Tensor:
        """Tokens ``[classes, context length]``."""
        drawn = [int(torch.randint(len(tokens), (1,), generator=generator)) for tokens in self._tokens]
        return torch.stack([tokens[index] for tokens, index in zip(self._tokens, drawn, strict=True)])


def class_contrastive_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Contrastive loss where images of one class share a caption.

    Yang et al. 2022, "Unified contrastive learning in image-text-label space", equations 2 and 3: images against
    captions, and captions against images, each positive of a caption counting alike.

    Args:
        logits: ``[B, C]`` scaled similarities of images and the captions of all classes.
        labels: ``[B]`` class of each image.

    Returns:
        The mean of both directions, a scalar.
    """
    positive = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    present = positive.sum(dim=0) > 0
    to_images = -(positive * F.log_softmax(logits, dim=0)).sum(dim=0)[present] / positive.sum(dim=0)[present]
    return 0.5 * (F.cross_entropy(logits, labels) + to_images.mean())
