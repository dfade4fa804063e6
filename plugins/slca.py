"""SLCA: a slow learner with classifier alignment."""

from __future__ import annotations

from typing import Any

from clsuite.plugin import Learner, Plugin, Scenario, Task, TrainingPlan, Traits, check_range
from clsuite.plugin.helpers import (
    AlignmentSettings,
    ClassGaussians,
    WeightSwap,
    align_head,
    check_alignable,
    head_values,
    multi_step,
    nearness,
    task_normalized,
)


class SLCA(Plugin):
    """Trains the backbone far slower than the head, then aligns the head on features drawn from class Gaussians.

    Zhang et al., "SLCA: slow learner with classifier alignment for continual learning on a pre-trained model" (ICCV
    2023). Every task trains the backbone with a hundredth of the head's learning rate, and only the new classes' part
    of the head. At the end of a task the mean and the covariance of each new class's features are stored, and the whole
    head is trained on features drawn from the Gaussians of all classes seen (section 3.3, equation 5). Its
    cross-entropy is of logits that are divided by the mean, over tasks, of the norm of a task's logits, and by a
    temperature. The means of older classes are scaled towards zero, down to nine tenths. Statistics are not updated
    when the backbone changes, since it changes slowly. As in the authors' code, only the aligned head predicts; the
    next task starts from the head as it was before the alignment.

    The traits set what the authors train with: a linear head initialized with N(0, 0.02), the cross-entropy over the
    current task's classes only, and SGD with momentum 0.9 and weight decay 5e-4. The two learning rates replace the
    benchmark's. Epochs and batch size are the benchmark's (authors: 20 epochs on CIFAR-100, 50 on ImageNet-R, 128
    images).

    A ten-thousandth of the mean variance is added to the diagonal of each covariance, so that it has a Cholesky root
    (authors: 1e-4 itself); for a class of one image this is all the variance there is. The alignment uses SGD with
    momentum 0.9 and a cosine schedule, as the authors do. Drawn features are not images, and are not counted among the
    gradient samples.

    Args:
        lr: Learning rate of the backbone (authors: 1e-4).
        head_lr: Learning rate of the head, and of its alignment at the start (authors: 1e-2).
        epochs: Number of epochs of the alignment (authors: 5).
        samples: Number of features drawn for each class in an epoch, and of features in a batch (authors: 256).
        temperature: Temperature of the normalized logits (authors: 0.1).
        weight_decay: Weight decay of the alignment (authors: 5e-4).
        ridge: Share of the mean variance of a class that is added to its variances for the draws.
        least_factor: Where the factor of older classes' means begins (authors' code: 0.9; it grows to 1).
        milestone: Share of a task's epochs after which both learning rates are a tenth, rounded to whole epochs
            (authors: 18 of 20 epochs on CIFAR-100, 40 of 50 on ImageNet-R, which is 0.8); null leaves it out, as does a
            benchmark that names a schedule.
    """

    traits = Traits(
        requires=("gradient",),
        memory=("statistics",),
        incompatible_with={
            "all data": "joint training needs no alignment",
            "weights": "the head would be aligned to others",
        },
        scenarios=("class_incremental", "task_incremental", "long_tailed"),
        training={
            "loss": "local",
            "head": "linear",
            "head_init": 0.02,
            "head_classes": "seen",
            "optimizer": {"name": "sgd", "momentum": 0.9, "weight_decay": 5e-4},
        },
        paper="Zhang, ICCV 2023 (SLCA)",
    )
    state = ("_gaussians",)

    def __init__(
        self,
        lr: float = 1e-4,
        head_lr: float = 1e-2,
        epochs: int = 5,
        samples: int = 256,
        temperature: float = 0.1,
        weight_decay: float = 5e-4,
        ridge: float = 1e-4,
        least_factor: float = 0.9,
        milestone: float | None = 0.9,
    ) -> None:
        super().__init__()
        check_range("slca", above=0, lr=lr, head_lr=head_lr, temperature=temperature, ridge=ridge)
        check_range("slca", at_least=1, epochs=epochs, samples=samples)
        check_range("slca", at_least=0, weight_decay=weight_decay, least_factor=least_factor)
        check_range("slca", above=0, below=1, milestone=milestone)
        self.lr, self.head_lr = lr, head_lr
        self.ridge, self.least_factor, self.milestone = ridge, least_factor, milestone
        self._logits = task_normalized(temperature)
        self._settings = AlignmentSettings(head_lr, epochs, samples, weight_decay=weight_decay)
        self._swap = WeightSwap()

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Allocate the statistics.

        Raises:
            UserError: If the head has no weights of its own, or does not grow by the classes of each task.
        """
        check_alignable("slca", learner)
        self._gaussians = ClassGaussians(learner.backbone.width, ridge=self.ridge)

    def plan_training(self, learner: Learner, task: Task, plan: TrainingPlan) -> TrainingPlan:
        """Divide the learning rates by ten near the end of the task."""
        if self.milestone is None or plan.options.schedule != "constant":
            return plan
        return plan.with_options(schedule=multi_step([round(self.milestone * plan.options.epochs)]))

    def parameter_groups(self, learner: Learner) -> list[dict[str, Any]]:
        """The two learning rates; the older classes' part of the head is frozen."""
        newest = {id(value) for value in learner.head.newest_parameters()}
        named = [(name, value) for name, value in learner.named_parameters() if value.requires_grad]
        body = [value for name, value in named if not name.startswith("head.")]
        head = [value for name, value in named if name.startswith("head.") and id(value) in newest]
        groups = [{"params": body, "lr": self.lr}, {"params": head, "lr": self.head_lr}]
        return [group for group in groups if group["params"]]

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Compute the statistics of the new classes, then align the head for the evaluation."""
        self._gaussians.add(learner.features_of(task.train), learner.labels_of(task.train))
        self._swap.replace(learner, head_values(learner))
        if task.index > 0:
            self._align(learner)

    def on_task_exit(self, learner: Learner, task: Task) -> None:
        """Restore the head as it was before the alignment."""
        self._swap.restore(learner)

    def _align(self, learner: Learner) -> None:
        factors = nearness(learner.head.sizes, self.least_factor)
        generator = learner.generator("slca")
        align_head(learner, self._gaussians, self._settings, generator, logits=self._logits, factors=factors)
