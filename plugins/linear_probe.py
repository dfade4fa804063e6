"""Linear probing: a trained head on frozen features."""

from __future__ import annotations

from clsuite.plugin import Learner, Plugin, Scenario, Traits


class LinearProbe(Plugin):
    """Freezes the backbone and trains the head alone.

    Without augmentation the features are computed once for each image and then reused. With augmentation each image
    passes through the backbone again at each step.
    """

    traits = Traits(paper="baseline", freezes_backbone=True)

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone."""
        learner.backbone.requires_grad_(False)
