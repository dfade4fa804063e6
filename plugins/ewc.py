"""Online elastic weight consolidation (EWC)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from clsuite.learner.learner import Learner, Step
from clsuite.learner.loss import classification_loss
from clsuite.plugin import Plugin, Traits, check_range
from clsuite.scenarios import Task

CHUNK = 16


class EWC(Plugin):
    """Holds parameters near the last task's values, each as firmly as its Fisher information says.

    Kirkpatrick et al. (PNAS 2017), equation 3, in the online form of Schwarz et al. (ICML 2018), section 3.2: one
    running Fisher diagonal F <- gamma F + F_new and one anchor, the parameters after the last task. F_new is the mean
    over training images of the squared gradient of the log-likelihood of the true label (the empirical Fisher; each
    image's gradient is squared on its own, not the batch's). The likelihood is the one that is trained: under a local
    loss that among the task's own classes.

    Args:
        penalty: lambda: the loss gains lambda / 2 * sum F (theta - anchor)^2. It goes with network and optimizer: an
            adaptive one needs it far larger than SGD does, and it is tuned by decades (the default is what
            ``clsuite tune quickstart`` finds on validation parts; under AdamW 1e4 and less do nothing there).
            Mammoth's 10 is of another scale: the gradient there is 2 lambda F d, here lambda F d, its F is weighted by
            the label's probability, and it trains with SGD.
        gamma: Decay of the running Fisher (1: none).
        samples: Training images that the Fisher is estimated on; null takes all of the task.
    """

    traits = Traits(
        memory=("importances",),
        unsupported_scenarios={
            "online": "it reads the task's images again to estimate the Fisher information, but the stream passes once",
            "blurry": "it reads the task's images again to estimate the Fisher information, but the stream passes once",
        },
        paper="Kirkpatrick, PNAS 2017; Schwarz, ICML 2018",
    )

    def __init__(self, penalty: float = 1e8, gamma: float = 1.0, samples: int | None = 512) -> None:
        super().__init__()
        check_range("ewc", at_least=0, penalty=penalty)
        check_range("ewc", at_least=0, at_most=1, gamma=gamma)
        check_range("ewc", at_least=1, samples=samples)
        self.penalty, self.gamma, self.samples = penalty, gamma, samples
        self._fisher: dict[str, Tensor] = {}
        self._anchor: dict[str, Tensor] = {}

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Bring what is kept to the compute device: a resumed run reads it into main memory."""
        device = next(learner.backbone.parameters()).device
        self._fisher = {name: value.to(device) for name, value in self._fisher.items()}
        self._anchor = {name: value.to(device) for name, value in self._anchor.items()}

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """The quadratic penalty."""
        if not self._fisher:
            return None
        parameters = dict(learner.named_parameters())
        terms = [
            (fisher * (parameters[name] - self._anchor[name]).square()).sum()
            for name, fisher in self._fisher.items()
            if parameters[name].requires_grad
        ]
        return 0.5 * self.penalty * torch.stack(terms).sum() if terms else None

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Add the task's Fisher diagonal and move the anchor; what rested in this task stays as important as it was."""
        fresh = self._estimate(learner, task)
        old = {name: self.gamma * value for name, value in self._fisher.items()}
        self._fisher = old | {name: value + old[name] if name in old else value for name, value in fresh.items()}
        parameters = dict(learner.named_parameters())
        self._anchor = {name: parameters[name].detach().clone() for name in self._fisher}

    def _estimate(self, learner: Learner, task: Task) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(learner.generator("fisher").initial_seed())
        indices = task.train[torch.randperm(len(task.train), generator=generator)[: self.samples].numpy()]
        parameters = self._trained(learner)
        sums = {name: torch.zeros_like(value) for name, value in parameters.items()}
        one_gradient = grad(lambda *arguments: _negative_log_likelihood(learner, *arguments))
        was_training = learner.training
        learner.eval()
        for start in range(0, len(indices), CHUNK):
            chunk = indices[start : start + CHUNK]
            images = learner.backbone.normalize(learner.images_of(chunk).to(learner.device))
            with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no rule for per-sample gradients
                each = vmap(one_gradient, in_dims=(None, 0, 0))(parameters, images, learner.labels_of(chunk))
            for name, gradients in each.items():
                sums[name] += gradients.square().sum(dim=0)
            learner.gradient_samples += len(chunk)
        learner.train(was_training)
        return {name: value / len(indices) for name, value in sums.items()}

    @staticmethod
    def _trained(learner: Learner) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in learner.named_parameters() if parameter.requires_grad}

    def stored_bytes(self) -> dict[str, int]:
        """Fisher diagonal and anchor."""
        tensors = [*self._fisher.values(), *self._anchor.values()]
        return {"importances": sum(tensor.numel() * tensor.element_size() for tensor in tensors)}

    def state_dict(self) -> dict[str, Any]:
        """Fisher diagonal and anchor."""
        return {"fisher": self._fisher, "anchor": self._anchor}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Fisher diagonal and anchor."""
        self._fisher, self._anchor = state_dict["fisher"], state_dict["anchor"]


def _negative_log_likelihood(learner: Learner, parameters: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy of one image, as training has it, as a function of the parameters."""
    assert learner.task is not None
    logits = functional_call(learner, parameters, (image[None],))
    return classification_loss(logits, label[None], learner.options.loss, learner.task.classes)
