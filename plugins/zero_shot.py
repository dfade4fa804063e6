"""Zero-shot CLIP (Continual-CLIP)."""

from __future__ import annotations

from torch import Tensor

from clsuite.plugin import Batch, Learner, Plugin, Scenario, Task, Traits
from clsuite.plugin.helpers import ClassTexts, clip_of


class ZeroShot(Plugin):
    """Classifies by the cosine to the text features of the classes' names; nothing is trained or stored.

    Thengane et al., "CLIP model is an efficient continual learner" (2022), section 3: the frozen CLIP, with the names
    of the classes as prompts. The classes that compete are those seen so far, those of the test part, or all, as an
    evaluation asks for. The prompts are ``backbone.templates``. The default is "a photo of a {}."; the authors'
    configurations have "a bad photo of a {}." for CIFAR-100 and Tiny-ImageNet, and "a good photo of a {}." for ImageNet
    and CORe50. Cosines are computed in full precision, whatever the precision of the towers.
    """

    traits = Traits(
        requires=("clip",), gradient_free=True, open_vocabulary=True, paper="Thengane, 2022 (Continual-CLIP)"
    )

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze both towers; the head is not used."""
        self._texts = ClassTexts(clip_of(learner.backbone, "plugin 'zero_shot'"), scenario.class_names)
        learner.requires_grad_(False)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Freeze the head, which has grown and is not used."""
        learner.head.requires_grad_(False)

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Scaled cosines to the text features of all classes, ``[B, classes of the stream]``."""
        return self._texts.logits(learner.encode(batch), learner.scenario.stream_classes)
