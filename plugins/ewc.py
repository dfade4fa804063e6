"""Online elastic weight consolidation (EWC)."""

from __future__ import annotations

import torch
from torch import Tensor

from clsuite.plugin import Learner, Task, Traits, check_range, classification_loss
from clsuite.plugin.helpers import ImportancePenalty, mean_over_samples


class EWC(ImportancePenalty):
    """Holds parameters near the last task's values, each as firmly as its Fisher information says.

    Kirkpatrick et al. (PNAS 2017), equation 3, in the online form of Schwarz et al. (ICML 2018), section 3.2: there is
    one running Fisher diagonal, F <- gamma F + F_new, and one anchor, the parameters after the last task. F_new is the
    empirical Fisher: the mean over training images of the squared gradient of the log-likelihood of the true label. The
    gradient of each image is squared, not that of the batch. The likelihood is the one that is trained: with a local
    loss, the likelihood among the task's own classes. `mas`, `si` and `rwalk` are the same penalty with other
    importances.

    Args:
        penalty: lambda; the loss gains lambda / 2 * sum F (theta - anchor)^2. The right value depends on network and
            optimizer: adaptive optimizers need a far larger one than SGD. Tune it in powers of ten. The default is what
            ``clsuite tune quickstart`` finds on validation parts; with AdamW, 1e4 and less have no effect there.
            Mammoth's 10 is on another scale: its gradient is 2 lambda F d, here it is lambda F d; its F is weighted by
            the label's probability; and it trains with SGD.
        gamma: Decay of the running Fisher diagonal (1: none).
        samples: Number of training images from which the Fisher diagonal is estimated; null takes all images of the
            task.
    """

    traits = Traits(
        memory=("importances",),
        second_pass="it reads the task's images again to estimate the Fisher information",
        paper="Kirkpatrick, PNAS 2017; Schwarz, ICML 2018",
    )

    def __init__(self, penalty: float = 1e8, gamma: float = 1.0, samples: int | None = 512) -> None:
        super().__init__("ewc", penalty)
        check_range("ewc", at_least=0, at_most=1, gamma=gamma)
        check_range("ewc", at_least=1, samples=samples)
        self.gamma, self.samples = gamma, samples

    def measure(self, learner: Learner, task: Task) -> dict[str, Tensor]:
        """The Fisher diagonal of the task."""
        order = torch.randperm(len(task.train), generator=learner.generator("fisher"))

        def negative_log_likelihood(logits: Tensor, label: Tensor) -> Tensor:
            return classification_loss(logits, label, learner.options.loss, task.classes)

        indices = task.train[order[: self.samples].numpy()]
        return mean_over_samples(learner, indices, negative_log_likelihood, torch.square)

    def joined(self, old: Tensor, fresh: Tensor | None) -> Tensor:
        """The running Fisher diagonal."""
        return super().joined(self.gamma * old, fresh)
