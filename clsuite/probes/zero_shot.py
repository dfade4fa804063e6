"""Zero-shot accuracy of a CLIP with its current encoders."""

from __future__ import annotations

import torch

from clsuite.backbones.class_texts import ClassTexts
from clsuite.backbones.clip import clip_of
from clsuite.learner.learner import Learner
from clsuite.probes.base import Features, ProbeContext, Reading
from clsuite.probes.named import load_named_table
from clsuite.probes.spec import ZeroShotProbe, probe_name


class ZeroShotAccuracy:
    """Share of a probe's images for which the text feature of the true class is the nearest of all classes."""

    def __init__(self, spec: ZeroShotProbe, context: ProbeContext) -> None:
        """Load the images and the names of their classes.

        Raises:
            UserError: As `load_named_table`.
        """
        self._name, self._templates = probe_name(spec), spec.templates
        named = load_named_table(spec, context.backbone.image_size, context.data_root)
        self._names, self._labels = named.names, torch.from_numpy(named.table.labels[named.rows])
        self._features = Features(named.table, named.rows)
        self._texts: ClassTexts | None = None

    def __call__(self, learner: Learner) -> dict[str, Reading]:
        """Measure the accuracy; undefined for features that are not the image encoder's own.

        Raises:
            UserError: If the backbone has no text tower.
        """
        if not learner.has_own_features:
            return {self._name: Reading(None, True)}
        if self._texts is None:
            backbone = clip_of(learner.backbone, f"probe '{self._name}'")
            self._texts = ClassTexts(backbone, self._names, self._templates)
        with torch.no_grad():
            answers = self._texts.logits(self._features.of(learner), len(self._names)).argmax(dim=1)
        return {self._name: Reading.accuracy(answers.cpu() == self._labels)}
