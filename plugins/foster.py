"""Feature boosting and compression (FOSTER)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsuite.plugin import Learner, Scenario, Step, Task, TrainingPlan, Traits, check_range
from clsuite.plugin.helpers import (
    DistillingRehearsal,
    OldModel,
    groups_by_rate,
    head_weights,
    set_weights,
    step_loss,
    tensor_bytes,
)


class FOSTER(DistillingRehearsal):
    """A second network learns what the old one lacks; then both are compressed into one.

    Wang et al., "FOSTER: feature boosting and compression for class-incremental learning" (ECCV 2022), as in the
    authors' code. A later task is trained in two rounds on its images and the exemplars:

    * Boosting: the old network is fixed, and the trained one begins as its copy. One classifier reads the features of
      both, ``logits``, and begins with the old head in its part of the old features; a second one reads the new
      features alone. The loss is ``CE(logits / weights) + CE(second classifier) + distillation * KD(old classes)``,
      with the old model's logits as the teacher's. The class weights grow as a class has fewer samples: ``w_c`` is in
      proportion to ``(1 - beta) / (1 - beta^n_c)``, with a mean of 1, for n_c samples (Cui et al. 2019).
    * Compression: one network, which begins as the old one, is trained with the cross-entropy of its softmax with that
      of the boosted logits, of which the classes' probabilities are multiplied with their weights (``beta_compressed``)
      and divided by the sum. It is evaluated, and is the old network of the next task.

    The authors also report the network before compression, and have another beta in each task of some benchmarks. They
    train for 170 and 130 epochs; as everywhere, the number is the benchmark's, for both rounds.

    Args:
        capacity: Number of exemplars kept, over all classes; null if `capacity_bytes` is given. (Paper, CIFAR-100:
            2,000; 500 is the default of all plugins that keep exemplars.)
        capacity_bytes: Size of the buffer in bytes, given instead of `capacity`.
        buffer: How exemplars are chosen.
        mix: ``shuffled``: exemplars are among the training data, as in the paper. ``batch``: each batch gets as many as
            it has samples of its own, as in `replay`.
        beta: Of the class weights in boosting (authors: 0.94 to 0.98 on CIFAR-100); 0 for equal weights.
        beta_compressed: Of the class weights in compression (authors: 0.97); 0 for equal weights.
        distillation: Weight of KD in boosting (1).
        temperature: Temperature of KD and of the compression (2).
        compression_epochs: Epochs of the compression; null takes those of the benchmark.
    """

    traits = Traits(
        memory=("exemplars", "weights", "modules"),
        incompatible_with={
            "all data": "joint training has all data already",
            "freezes_backbone": "the backbone is frozen: there is no second network to train",
            "loss": "boosting trains two classifiers of its own, and not the head whose answers a loss is about",
            "on_after_backward": "boosting does not train the head by which the gradients of exemplars are taken",
            "trains by itself": "boosting does not train the head by which other passes go",
            "averages weights": "its two rounds train different networks, whose weights have no mean",
        },
        scenarios=("class_incremental", "task_incremental", "long_tailed"),
        paper="Wang, ECCV 2022 (FOSTER)",
        lends=True,
    )

    def __init__(
        self,
        capacity: int | None = 500,
        capacity_bytes: int | None = None,
        buffer: Literal["reservoir", "class_balanced", "herding"] = "herding",
        mix: Literal["shuffled", "batch"] = "shuffled",
        beta: float = 0.97,
        beta_compressed: float = 0.97,
        distillation: float = 1.0,
        temperature: float = 2.0,
        compression_epochs: int | None = None,
    ) -> None:
        super().__init__("foster", capacity, capacity_bytes, buffer, mix)
        check_range("foster", at_least=0, below=1, beta=beta, beta_compressed=beta_compressed)
        check_range("foster", at_least=0, distillation=distillation)
        check_range("foster", above=0, temperature=temperature)
        check_range("foster", at_least=1, compression_epochs=compression_epochs)
        self.beta, self.beta_compressed, self.distillation = beta, beta_compressed, distillation
        self.temperature, self.compression_epochs = temperature, compression_epochs
        self.boosted = OldModel()

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Create the buffer and both classifiers of boosting, which are made anew in each task.

        Raises:
            UserError: If the head is not linear.
        """
        head_weights(learner, "foster")
        super().on_stream_start(learner, scenario)
        width, classes = learner.backbone.width, len(scenario.classes)
        self.joint, self.second = (_zeros(size, classes) for size in (2 * width, width))
        for name, module in (("joint", self.joint), ("second", self.second)):
            learner.register_plugin_module(self, name, module.requires_grad_(False), role="features")

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Make both classifiers anew, and count the samples of each class."""
        super().on_task_start(learner, task)
        self.boosted.forget()
        labels = torch.cat([learner.labels_of(task.train).cpu(), self.buffer.labels])
        self._counts = torch.bincount(labels, minlength=learner.seen)[: learner.seen]
        old = self.old_classes(learner)
        if old:
            self._begin(learner, old)

    @torch.no_grad()
    def _begin(self, learner: Learner, old: int) -> None:
        """Give both classifiers PyTorch's default values, and the old head in the part of the old features."""
        random = learner.generator("foster")
        for module in (self.joint, self.second):
            for parameter in module.parameters():
                values = torch.rand(parameter.shape, generator=random)
                parameter.copy_((2 * values - 1) * module.in_features**-0.5)
        weight, bias = head_weights(learner, "foster")
        assert bias is not None
        self.joint.weight[:old, : weight.shape[1]] = weight[:old]
        self.joint.bias[:old] = bias[:old]

    def plan_training(self, learner: Learner, task: Task, plan: TrainingPlan) -> TrainingPlan:
        """Train later tasks in two rounds."""
        boosting = bool(self.old_classes(learner)) and plan.round == 0
        self.joint.requires_grad_(boosting)
        self.second.requires_grad_(boosting)
        if not self.old_classes(learner):
            return plan
        plan = (
            plan if boosting or self.compression_epochs is None else plan.with_options(epochs=self.compression_epochs)
        )
        return replace(plan, rounds=2)

    def parameter_groups(self, learner: Learner) -> list[dict[str, Any]] | None:
        """In boosting, both classifiers have the rate of heads; None for the usual groups."""
        if not self.joint.weight.requires_grad:
            return None
        return groups_by_rate(learner, learner.options.optimizer, [learner.head, self.joint, self.second])

    def classification(self, learner: Learner, step: Step) -> Tensor | None:
        """The loss of the round; the cross-entropy in the first task."""
        old = self.old_classes(learner)
        if not old:
            return None
        features, logits = self.old.answers(learner, step.batch)
        if learner.plan.round == 0:
            return self._boosting(learner, step, features, logits[:, :old])
        newer = self.boosted.answers(learner, step.batch)[0]
        with torch.no_grad():
            teacher = self.joint(torch.cat([features, newer], dim=1))[:, : learner.seen].float()
        weights = self.class_weights(self.beta_compressed).to(teacher.device)
        targets = (teacher / self.temperature).softmax(dim=1) * weights
        student = step.logits[:, : learner.seen].float() / self.temperature
        return F.cross_entropy(student, targets / targets.sum(dim=1, keepdim=True))

    def _boosting(self, learner: Learner, step: Step, features: Tensor, teacher: Tensor) -> Tensor:
        """The three terms of boosting."""
        logits = self.joint(torch.cat([features, step.features.float()], dim=1))[:, : learner.seen].float()
        balanced = logits / self.class_weights(self.beta).to(logits.device)
        loss = step_loss(learner, step, balanced)
        loss = loss + step_loss(learner, step, self.second(step.features.float())[:, : learner.seen])
        student = logits[:, : teacher.shape[1]] / self.temperature
        return loss + self.distillation * F.cross_entropy(student, (teacher / self.temperature).softmax(dim=1))

    def class_weights(self, beta: float) -> Tensor:
        """The weight of each seen class ``[C]``, with a mean of 1."""
        weights = (1 - beta) / (1 - beta ** self._counts.clamp_min(1).double())
        return (weights / weights.mean()).float()

    def on_round_end(self, learner: Learner, task: Task, round: int) -> None:
        """After boosting, keep the second network, and begin the compression with the old one."""
        if not self.old_classes(learner) or round:
            return
        own = tuple(f"plugin_modules.{type(self).__name__}_{name}." for name in self.registered_modules)
        self.boosted.keep(learner)
        set_weights(learner, {name: value for name, value in self.old.values.items() if not name.startswith(own)})

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Choose exemplars, and forget both networks."""
        both = tensor_bytes([self.old.values, self.boosted.values])
        self.boosted.forget()
        super().on_task_end(learner, task)
        self._old_bytes = max(self._old_bytes, both)


def _zeros(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer of zeros; PyTorch's own values would be drawn from the global generator."""
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
