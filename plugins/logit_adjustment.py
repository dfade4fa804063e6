"""Logit adjustment for long-tailed streams."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsuite.plugin import (
    Batch,
    Learner,
    Plugin,
    RehearsalPlugin,
    Scenario,
    Step,
    Task,
    Traits,
    UserError,
    check_range,
    classification_loss,
)


class LogitAdjustment(Plugin):
    """Adds the log frequencies of the classes to the logits in training, so that the head learns as if they were alike.

    Menon et al., "Long-tail learning via logit adjustment" (ICLR 2021): the cross-entropy of z + tau log(pi + floor),
    predicted by z. It is the way in which Chen et al., "Rethinking the bias of foundation model under long-tailed
    distribution" (ICML 2025), mend the imbalance of the data.

    In a stream, pi is what the batches of a task have: the frequencies of the task's training images, and those of the
    exemplars that other plugins keep, each as far as a batch has own samples or exemplars. Beside exemplars it thus
    mends the bias towards the task's classes too. Without exemplars, older classes have the frequency 0 and hardly
    compete, as with a local loss. Plugins that choose training images come before this one.

    Args:
        tau: Factor of the log frequencies (paper and code: 1); 0 is the usual cross-entropy.
        floor: What is added to frequencies (code of Chen et al.: 1e-9).
    """

    traits = Traits(effects=("counts images",), paper="Menon, ICLR 2021 (LA)")

    def __init__(self, tau: float = 1.0, floor: float = 1e-9) -> None:
        super().__init__()
        check_range("logit_adjustment", at_least=0, tau=tau)
        check_range("logit_adjustment", above=0, floor=floor)
        self.tau, self.floor = tau, floor
        self._own = torch.zeros(0)

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Check that there are frequencies to adjust by.

        Raises:
            UserError: If a plugin rehearses exemplars that are in no buffer, or a task has one class and no exemplars.
        """
        keeping = [plugin for plugin in learner.plugins if {"exemplars", "all data"} & {*plugin.traits.memory}]
        adding = [plugin for plugin in keeping if plugin is not self and _adds(plugin)]
        self._buffers = [plugin for plugin in adding if isinstance(plugin, RehearsalPlugin)]
        for plugin in keeping:
            if "exemplars" in plugin.traits.memory and not isinstance(plugin, RehearsalPlugin):
                raise UserError(
                    f"logit_adjustment: {type(plugin).__name__} rehearses samples that are in no buffer, so that the "
                    "frequencies of their classes in a batch are not known"
                )
        lonely = next((task for task in scenario.tasks if len(task.classes) == 1), None)
        if self.tau and lonely is not None and not adding:
            raise UserError(
                f"logit_adjustment: task {lonely.index} ({lonely.name}) has one class, with which older ones hardly "
                "compete, so that nothing is learned: take tasks of several classes, or add exemplars"
            )

    def select_indices(self, learner: Learner, task: Task, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Count the classes of the training images."""
        self._own = self._frequencies(learner, learner.labels_of(indices))
        return indices

    def classification(self, learner: Learner, step: Step) -> Tensor | None:
        """The cross-entropy of the adjusted logits."""
        if not self.tau:
            return None
        assert learner.task is not None
        prior = self._prior(learner, step.batch)[: step.logits.shape[1]]
        logits = step.logits.float() + self.tau * (prior + self.floor).log().float().to(
            step.logits.device, non_blocking=True
        )
        columns = step.batch.columns
        more = columns.get("weights"), columns.get("targets"), learner.options.label_smoothing
        return classification_loss(logits, step.batch.labels, learner.options.loss, learner.task.classes, *more)

    def _prior(self, learner: Learner, batch: Batch) -> Tensor:
        """The expected frequencies ``[classes of the stream]`` of a batch."""
        buffers = [plugin.buffer.labels for plugin in self._buffers]
        kept, share = torch.cat([*buffers, torch.zeros(0, dtype=torch.int64)]), batch.own / len(batch)
        if share == 1 or not len(kept):
            return self._own
        return share * self._own + (1 - share) * self._frequencies(learner, kept)

    def _frequencies(self, learner: Learner, labels: Tensor) -> Tensor:
        counts = torch.bincount(labels.cpu(), minlength=len(learner.scenario.classes)).double()
        return counts / counts.sum().clamp_min(1)


def _adds(plugin: Plugin) -> bool:
    """Whether a plugin adds images to batches, or to those that a task is trained on."""
    return any(
        getattr(type(plugin), hook) is not getattr(Plugin, hook) for hook in ("transform_batch", "select_indices")
    )
