"""The network as it was loaded, with an untrained head, for the evaluation and probes before the stream."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clsuite.backbones.clip import ClipBackbone
from clsuite.learner.learner import Learner
from clsuite.plugin.base import Plugin


class Untouched(Learner):
    """A learner without plugins that is never trained.

    Its features are those of the backbone as it was loaded, which runs share. They are requested in the same batches as
    in an evaluation, so that the result has the same bits.
    """

    def have_features(self, rows: NDArray[np.int64], batch_size: int) -> bool:
        """Provide the features of rows; see `Learner.have_features`."""
        if self.frozen:
            return super().have_features(rows, batch_size)
        self.store.clear()  # features of an earlier request were computed in other batches
        with self.autocast():
            self.store.add(self.backbone, rows, batch_size)
        return True


def learner_before(learner: Learner) -> Learner:
    """The learner for the evaluation before the stream, on the same backbone, which no plugin has changed yet.

    Of the plugins only those with an open vocabulary predict here, because they need no training. On a CLIP, those that
    take gradient steps or keep modules or weights do not either, as modules that they add would stay on the backbone:
    instead a zero-shot head predicts.

    Args:
        learner: The learner of the run, before it starts.
    """
    names = isinstance(learner.backbone, ClipBackbone)
    options = learner.options
    by_name = [
        plugin
        for plugin in learner.plugins
        if plugin.traits.open_vocabulary and not (names and _may_add_modules(plugin))
    ]
    if learner.open_vocabulary and names and not by_name:
        options = options.model_copy(update={"head": "zero_shot"})
    kind = Learner if by_name else Untouched
    before = kind(learner.backbone, options, by_name, learner.seed)
    before.feature_source = learner.feature_source
    return before


def _may_add_modules(plugin: Plugin) -> bool:
    return not plugin.traits.gradient_free or bool({"modules", "weights"} & set(plugin.traits.memory))
