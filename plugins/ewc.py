"""Online elastic weight consolidation (EWC)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from clsuite.plugin import Learner, Plugin, Step, Task, Traits, check_range, classification_loss

CHUNK = 16


class EWC(Plugin):
    """Holds parameters near the last task's values, each as firmly as its Fisher information says.

    Kirkpatrick et al. (PNAS 2017), equation 3, in the online form of Schwarz et al. (ICML 2018), section 3.2: there is
    one running Fisher diagonal, F <- gamma F + F_new, and one anchor, the parameters after the last task. F_new is the
    empirical Fisher: the mean over training images of the squared gradient of the log-likelihood of the true label. The
    gradient of each image is squared, not that of the batch. The likelihood is the one that is trained: with a local
    loss, the likelihood among the task's own classes.

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
    state = ("_fisher", "_anchor")

    def __init__(self, penalty: float = 1e8, gamma: float = 1.0, samples: int | None = 512) -> None:
        super().__init__()
        check_range("ewc", at_least=0, penalty=penalty)
        check_range("ewc", at_least=0, at_most=1, gamma=gamma)
        check_range("ewc", at_least=1, samples=samples)
        self.penalty, self.gamma, self.samples = penalty, gamma, samples
        self._fisher, self._anchor = dict[str, Tensor](), dict[str, Tensor]()

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Move the stored values to the compute device: a resumed run loads them into main memory."""
        self._fisher = {name: value.to(learner.device) for name, value in self._fisher.items()}
        self._anchor = {name: value.to(learner.device) for name, value in self._anchor.items()}

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """The quadratic penalty."""
        parameters = dict(learner.named_parameters())
        terms = [
            (fisher * (parameters[name] - self._anchor[name]).square()).sum()
            for name, fisher in self._fisher.items()
            if parameters[name].requires_grad
        ]
        return 0.5 * self.penalty * torch.stack(terms).sum() if terms else None

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Add the task's Fisher diagonal and move the anchor; frozen parameters keep their importance."""
        fresh = self._estimate(learner, task)
        old = {name: self.gamma * value for name, value in self._fisher.items()}
        self._fisher = old | {name: value + old[name] if name in old else value for name, value in fresh.items()}
        parameters = dict(learner.named_parameters())
        self._anchor = {name: parameters[name].detach().clone() for name in self._fisher}

    def _estimate(self, learner: Learner, task: Task) -> dict[str, Tensor]:
        order = torch.randperm(len(task.train), generator=learner.generator("fisher"))
        indices = task.train[order[: self.samples].numpy()]
        parameters = {name: value.detach() for name, value in learner.named_parameters() if value.requires_grad}
        sums = {name: torch.zeros_like(value) for name, value in parameters.items()}

        def negative_log_likelihood(parameters: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
            logits = functional_call(learner, parameters, (image[None],))
            return classification_loss(logits, label[None], learner.options.loss, task.classes)

        was_training = learner.training
        learner.eval()
        for start in range(0, len(indices), CHUNK):
            chunk = indices[start : start + CHUNK]
            images = learner.backbone.normalize(learner.images_of(chunk).to(learner.device))
            with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no rule for per-sample gradients
                each = vmap(grad(negative_log_likelihood), in_dims=(None, 0, 0))(
                    parameters, images, learner.labels_of(chunk)
                )
            for name, gradients in each.items():
                sums[name] += gradients.square().sum(dim=0)
            learner.gradient_samples += len(chunk)
        learner.train(was_training)
        return {name: value / len(indices) for name, value in sums.items()}
