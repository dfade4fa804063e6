"""Text features of the classes of a stream: the mean over several prompts of each name."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.backbones.clip import ClipBackbone
from clsuite.backbones.templates import fill
from clsuite.data.class_names import ClassName
from clsuite.private_api import tensor_version


class ClassTexts:
    """One text feature per class: the mean of the normalized features of its prompts, normalized again.

    Radford et al. 2021, "Learning transferable visual models from natural language supervision", section 3.1.4
    (ensembles over the embedding space). The features are cached as long as the text tower does not change; while it is
    trained, they are computed in each step, with gradients. Changes are detected by the parameters and buffers outside
    the image tower: another tensor in their place, or a higher version, which every in-place operation gives except the
    step of a fused optimizer (the learner's optimizer increases it itself) and writing to ``.data``. Modules that
    are attached by `ClipBackbone.attach_to_text` count like the tower's own; nothing is cached while anything else acts
    on it (`ClipBackbone.text_is_altered`). Without gradients, features are computed in full precision.
    """

    def __init__(
        self,
        backbone: ClipBackbone,
        names: Sequence[str | ClassName],
        templates: Sequence[str] = (),
        first_only: bool = False,
    ) -> None:
        """Tokenize the prompts of all classes.

        Args:
            backbone: The CLIP.
            names: The names of the classes by stream label: ``scenario.class_names``, whose data sets may have
                templates of their own, or plain words.
            templates: Templates of all classes; by default the backbone's.
            first_only: Whether to use the first template of each class alone.
        """
        self._backbone = backbone
        spoken = [name if isinstance(name, ClassName) else ClassName(name) for name in names]
        chosen = [tuple(templates) or backbone.templates_of(name.dataset) for name in spoken]
        self._tokens = [
            backbone.tokenize(fill(given[:1] if first_only else given, name.text))
            for given, name in zip(chosen, spoken, strict=True)
        ]
        self._kept: list[Tensor] = []
        self._state: tuple[object, ...] = ()
        self._sources: list[Tensor] = []

    def logits(self, image_features: Tensor, classes: int) -> Tensor:
        """Scaled cosines ``[B, classes]``, float32, between image features ``[B, width]`` and the first classes."""
        return self._backbone.logits(image_features, self.features(classes))

    def features(self, classes: int) -> Tensor:
        """Normalized text features ``[classes, width]`` of the first classes."""
        sources, switches = self._backbone.text_tensors(), self._backbone.text_switches()
        device = sources[0].device
        if torch.is_grad_enabled() and any(value.requires_grad for value in sources):
            self._state = ()
            return self._encode(self._tokens[:classes], device)
        if switches is None or self._backbone.text_is_altered():
            self._state = ()
            with torch.autocast(device.type, enabled=False):
                return self._encode(self._tokens[:classes], device)
        state = (device, switches, *((id(value), tensor_version(value)) for value in sources))
        if state != self._state:
            self._kept, self._state = [], state
            self._sources = sources  # kept alive, so that no other tensor gets the id of one that was replaced
        # Tensors of inference mode cannot be used in training later. Computing one class at a time gives the same bits
        # however many classes are requested.
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(device.type, enabled=False):
            while len(self._kept) < classes:
                self._kept.append(self._encode([self._tokens[len(self._kept)]], device)[0])
        return torch.stack(self._kept[:classes])

    def encode(self, classes: Sequence[int]) -> Tensor:
        """Features ``[len(classes), width]`` of some classes as the text tower is now, with gradients, not kept."""
        device = self._backbone.text_parameters()[0].device
        return self._encode([self._tokens[label] for label in classes], device)

    def prompts(self, label: int) -> int:
        """Number of prompts of a class, which pass the text tower one behind another."""
        return len(self._tokens[label])

    def _encode(self, tokens: Sequence[Tensor], device: torch.device) -> Tensor:
        features = self._backbone.encode_tokens(torch.cat(list(tokens)).to(device)).float()
        means = [of_class.mean(dim=0) for of_class in features.split([len(prompts) for prompts in tokens])]
        return F.normalize(torch.stack(means), dim=1)
