"""The classifier that an image tower was pre-trained with, as a teacher of class names: no image is needed for them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.backbones.clip import ClipBackbone
from clsuite.errors import UserError
from clsuite.pretrain.captions import Captions
from clsuite.pretrain.clip_spec import ClassifierSpec

WEIGHT = "head.weight"
"""The tensor of a timm vision transformer that maps features to classes."""


class ClassifierRows:
    """Pairs each class that the image tower can name with its row of the tower's classifier.

    An image's logit for a class is the product of its features and that row, so that a text whose features have the
    row's direction classifies images as the classifier does, up to the lengths of the rows and the biases.

    Attributes:
        rows: float32 ``[classes, width]``, each of length 1.
    """

    def __init__(
        self, backbone: ClipBackbone, state: dict[str, Tensor], spec: ClassifierSpec, without: Collection[str]
    ) -> None:
        """Take the rows from the tower's weights, and the names of their classes from timm and OpenCLIP.

        Args:
            backbone: The CLIP whose text tower learns the names.
            state: The weights of the image tower with its classifier, in timm's format.
            spec: Classes and captions.
            without: WordNet identifiers of classes that are left out.

        Raises:
            UserError: If the weights have no classifier, or one for other classes.
        """
        from timm.data.imagenet_info import ImageNetInfo

        info: Any = ImageNetInfo(spec.classes)
        given = state.get(WEIGHT)
        if given is None or len(given) != info.num_classes():
            found = "none" if given is None else f"one for {len(given)}"
            raise UserError(f"classifier.classes: the image tower's weights must have '{WEIGHT}' for the "
                            f"{info.num_classes()} classes of {spec.classes}; they have {found}")  # fmt: skip
        kept = [index for index in range(len(given)) if info.index_to_label_name(index) not in without]
        self.rows = F.normalize(given[kept].float(), dim=1)
        self._spec = spec
        self._captions = Captions(backbone, [_texts(info, index, spec) for index in kept], ("{}",))

    def loss(self, backbone: ClipBackbone, generator: torch.Generator) -> Tensor:
        """One minus the cosine between captions of some classes and their rows, a scalar."""
        chosen = torch.randperm(len(self.rows), generator=generator)[: self._spec.batch_size]
        texts = backbone.encode_tokens(self._captions.draw(generator, chosen.tolist()))
        return (1 - (texts * self.rows[chosen]).sum(dim=1)).mean()


def _texts(info: Any, index: int, spec: ClassifierSpec) -> list[str]:
    """All captions of a class: its names in all templates, and its definition alone and after its first name."""
    from open_clip import IMAGENET_CLASSNAMES

    described: str = info.index_to_description(index, detailed=True)
    lemmas, _, definition = described.partition(": ")
    curated = [IMAGENET_CLASSNAMES[index]] if spec.classes == "imagenet-1k" else []
    names = list(dict.fromkeys([*curated, *lemmas.split(", ")]))
    captions = [template.replace("{}", name) for name in names for template in spec.templates]
    if definition and spec.definitions:
        captions += [definition, f"{names[0]}, {definition}"] * spec.definitions
    return captions
