"""Memory aware synapses (MAS)."""

from __future__ import annotations

import torch
from torch import Tensor

from clsuite.plugin import Learner, Task, Traits, check_range
from clsuite.plugin.helpers import ImportancePenalty, mean_over_samples


class MAS(ImportancePenalty):
    """Holds parameters near the last task's values, each as firmly as the network's answers depend on it.

    Aljundi et al., "Memory aware synapses: learning what (not) to forget" (ECCV 2018). The importance of a parameter is
    the mean over images of the magnitude of the gradient of the squared length of the logits; it needs no labels. The
    gradient of each image counts, where FACIL and Avalanche take that of a batch. The answers are those that are
    trained: with a local loss, the logits of the task's own classes. The penalty is that of `ewc`, lambda / 2;
    Avalanche has no half, so that its lambda is half of the one here.

    Args:
        penalty: lambda; the loss gains lambda / 2 * sum importance (theta - anchor)^2. The default is what
            ``clsuite tune quickstart`` finds on validation parts; the right value depends on network and optimizer.
        alpha: The importance for all tasks is ``alpha old + (1 - alpha) new`` (FACIL and Avalanche: 0.5); null takes
            the sum of the tasks.
        samples: Number of training images from which importances are estimated; null takes all images of the task.
    """

    traits = Traits(
        memory=("importances",),
        second_pass="it reads the task's images again to estimate the importances",
        paper="Aljundi, ECCV 2018 (MAS)",
    )

    def __init__(self, penalty: float = 200.0, alpha: float | None = 0.5, samples: int | None = 512) -> None:
        super().__init__("mas", penalty)
        check_range("mas", at_least=0, at_most=1, alpha=alpha)
        check_range("mas", at_least=1, samples=samples)
        self.alpha, self.samples = alpha, samples

    def measure(self, learner: Learner, task: Task) -> dict[str, Tensor]:
        """How the squared length of the logits depends on each parameter."""
        order = torch.randperm(len(task.train), generator=learner.generator("mas"))
        classes = list(task.classes) if learner.options.loss == "local" else slice(learner.seen)

        def squared_length(logits: Tensor, label: Tensor) -> Tensor:
            return logits[:, classes].square().sum()

        return mean_over_samples(learner, task.train[order[: self.samples].numpy()], squared_length, torch.abs)

    def joined(self, old: Tensor, fresh: Tensor | None) -> Tensor:
        """The importance for all tasks."""
        if fresh is None or self.alpha is None:
            return super().joined(old, fresh)
        return self.alpha * old + (1 - self.alpha) * fresh
