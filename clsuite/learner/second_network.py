"""Another pre-trained network with a head of its own, beside the learner's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from clsuite.backbones.clip import build_clip
from clsuite.backbones.clip_spec import is_clip
from clsuite.backbones.spec import BackboneSpec, find_weights
from clsuite.backbones.vit import build_backbone
from clsuite.errors import UserError
from clsuite.learner.heads import choose_towers, make_head
from clsuite.learner.learner import Learner
from clsuite.learner.step import Step


class SecondNetwork(nn.Module):
    """A backbone with a head of the same kind as the learner's, which is trained by the same loss on the same images.

    Register it in ``on_stream_start``, let its head grow in ``on_task_start``, and recreate the head's groups by
    `grow_as` in ``rebuild_modules``.

    Attributes:
        backbone: The network.
        head: Its head, a group for each group of the learner's.
    """

    def __init__(self, learner: Learner, name: str, weights: str, fingerprint: str | None = None) -> None:
        """Build the network for the learner's images.

        Args:
            learner: The learner, whose stream has started.
            name: As a benchmark's ``backbone.name``.
            weights: As a benchmark's ``backbone.weights``; a file is found beside the run or below its data root.
            fingerprint: How the SHA-256 of the file must begin; anything by default.

        Raises:
            UserError: If the weights are missing, others, or do not fit.
        """
        super().__init__()
        spec = BackboneSpec(name=name, weights=weights, image_size=learner.scenario.table.images.shape[-1])
        folders = [Path.cwd(), *([learner.data_root] if learner.data_root else [])]
        found = find_weights(spec, folders)
        if fingerprint is not None and not (fingerprint and (found.sha256 or "").startswith(fingerprint)):
            raise UserError(f"the weights '{weights}' have the SHA-256 {(found.sha256 or '')[:12]}, not {fingerprint}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(learner.generator("second network", name).initial_seed())
            self.backbone = build_clip(spec, found) if is_clip(name) else build_backbone(spec, found)
        choose_towers(self.backbone, learner.options)
        self.head = make_head(self.backbone, learner.options)
        self.head.begin(learner.scenario.class_names)
        first, own = learner.backbone.normalize, self.backbone.normalize
        self._normalized = (first,)  # in a tuple, so that it is not registered twice
        self._alike = torch.equal(first.mean.cpu(), own.mean) and torch.equal(first.std.cpu(), own.std)

    def grow_as(self, sizes: Sequence[int], generator: torch.Generator) -> None:
        """Let the head grow to the groups of the learner's head.

        Args:
            sizes: Classes of each of these groups.
            generator: Draws the initial values, on the CPU.
        """
        for size in list(sizes)[len(self.head.sizes) :]:
            self.head.grow(size, generator)
        self.head.to(next(self.backbone.parameters()).device)

    def step(self, step: Step) -> Step:
        """Pass the images of a step of the learner.

        Raises:
            UserError: If the batch has no images.
        """
        if step.batch.images is None:
            raise UserError("a second network needs images, but features are kept instead")
        features = self.backbone(self._own_input(step.batch.images))
        return Step(step.batch, features, self.head(features))

    def forward(self, images: Tensor) -> Tensor:
        """Map images that are normalized for the learner's backbone to logits ``[B, seen classes]``."""
        logits: Tensor = self.head(self.backbone(self._own_input(images)))
        return logits

    def _own_input(self, images: Tensor) -> Tensor:
        """The same images as this network's pre-training has normalized them."""
        if self._alike:
            return images
        first, own = self._normalized[0], self.backbone.normalize
        return (images * first.std + first.mean - own.mean) / own.std
