"""Classifier alignment: the head of any trained method, trained again on features drawn from class Gaussians."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from clsuite.plugin import Learner, Plugin, Scenario, Task, Traits, UserError, check_range
from clsuite.plugin.helpers import (
    AlignmentSettings,
    ClassGaussians,
    WeightSwap,
    align_head,
    check_alignable,
    head_values,
    nearness,
    plain_logits,
    scaled_cosine,
    task_normalized,
)


class ClassifierAlignment(Plugin):
    """Keeps Gaussians of each class's features, and ends a task by training the head on features drawn from them.

    Zhang et al., "SLCA: slow learner with classifier alignment for continual learning on a pre-trained model" (ICCV
    2023), section 3.3, without the slow learner: the training itself is that of the other plugins, as in ``[pet,
    classifier_alignment]``. At the end of each task the statistics of its classes are taken from un-augmented features.
    From the second task on, the head is then trained on features drawn from the Gaussians of all classes, by SGD with a
    cosine schedule and the cross-entropy over all seen classes. Drawn features are not images, and are not counted
    among the gradient samples. Statistics of older classes are not updated when the features change.

    The defaults are SLCA's, as `slca` has them; InfLoRA's and CoFiMA's alignments are the same. What other codes do:

    * MOS (Sun et al., AAAI 2025): ``epochs: 30, lr: 0.005, logits: plain, means: plain, next_task: aligned, ridge_kind:
      absolute``, and five times the training's batch size as ``samples``; ``covariance: diagonal`` on ImageNet-A.
    * TUNA (Wang et al., ICCV 2025): as MOS with ``logits: cosine, scale: 20`` and ``period: 5``, so that the rate
      swings three times.
    * SSIAT (Tan et al., CVPR 2024): ``logits: cosine, scale: 20, ridge: 0.001, ridge_kind: absolute, next_task:
      aligned``; its means are moved with the features, which this plugin does not do.
    * HiDe (Wang et al., NeurIPS 2023): ``covariance: centroids, epochs: 30, lr: 0.005, logits: plain, means: plain,
      next_task: aligned``, with ``batches: old`` as its code, and ``all`` as its paper.

    A class that comes again is pooled with what is known of it, but for centroids.

    Args:
        lr: Learning rate at the start (SLCA: 1e-2).
        epochs: Number of epochs (SLCA: 5).
        samples: Number of features drawn for each Gaussian in an epoch (SLCA: 256).
        batch_size: Number of features in a batch; null takes ``samples`` (all codes).
        batches: Which batches of an epoch are used: ``all``, or as many as there are ``old`` classes (HiDe's code).
        weight_decay: Of the alignment (SLCA: 5e-4).
        period: Epochs until the rate is zero; null takes all. With fewer it rises again (TUNA's code: 5 of 30).
        covariance: What is kept of a class: its ``full`` covariance, its variances (``diagonal``), or those around
            each of its k-means ``centroids``.
        centroids: Number of centroids of a class (HiDe: 10).
        ridge: What is added to the variances for the draws (SLCA: 1e-4).
        ridge_kind: ``relative`` to the Gaussian's mean variance, or ``absolute`` (all codes).
        means: ``nearness`` scales the means of older tasks' classes towards zero (SLCA); ``plain`` leaves them.
        least_factor: Where the factor of ``nearness`` begins; it grows to 1 for the newest task (SLCA's code: 0.9).
        logits: What is trained: ``normalized`` (divided by the mean norm of a task's logits and by ``temperature``,
            SLCA), ``plain``, or ``cosine`` (``scale`` times the cosines, whatever the scale of the head).
        temperature: Of normalized logits (SLCA: 0.1).
        scale: Of cosines (TUNA, SSIAT: 20).
        groups: Which tasks' parts of the head are trained: ``all``, or the ``newest`` alone.
        next_task: The head with which the next task begins: ``unaligned`` as it was (SLCA, CoFiMA), or ``aligned``
            (MOS, TUNA, SSIAT, HiDe, InfLoRA).
    """

    traits = Traits(
        requires=("gradient",),
        memory=("statistics",),
        incompatible_with={
            "all data": "joint training needs no alignment",
            "weights": "the head would be aligned to others",
            "prototypes": "prototypes answer, and not the head that is aligned",
        },
        second_pass="it takes the features of a task's images after training on them",
        paper="Zhang, ICCV 2023 (SLCA)",
    )
    state = ("_gaussians",)

    def __init__(
        self,
        lr: float = 1e-2,
        epochs: int = 5,
        samples: int = 256,
        batch_size: int | None = None,
        batches: Literal["all", "old"] = "all",
        weight_decay: float = 5e-4,
        period: int | None = None,
        covariance: Literal["full", "diagonal", "centroids"] = "full",
        centroids: int = 10,
        ridge: float = 1e-4,
        ridge_kind: Literal["relative", "absolute"] = "relative",
        means: Literal["nearness", "plain"] = "nearness",
        least_factor: float = 0.9,
        logits: Literal["normalized", "plain", "cosine"] = "normalized",
        temperature: float = 0.1,
        scale: float = 20.0,
        groups: Literal["all", "newest"] = "all",
        next_task: Literal["unaligned", "aligned"] = "unaligned",
    ) -> None:
        super().__init__()
        check_range("classifier_alignment", above=0, lr=lr, temperature=temperature, scale=scale, ridge=ridge)
        check_range("classifier_alignment", at_least=1, epochs=epochs, samples=samples, centroids=centroids)
        check_range("classifier_alignment", at_least=1, batch_size=1 if batch_size is None else batch_size)
        check_range("classifier_alignment", at_least=1, period=1 if period is None else period)
        check_range("classifier_alignment", at_least=0, weight_decay=weight_decay, least_factor=least_factor)
        self._settings = AlignmentSettings(lr, epochs, samples, batch_size, weight_decay=weight_decay, period=period)
        self._keeps: Any = {"kind": covariance, "ridge": ridge, "ridge_kind": ridge_kind, "centroids": centroids}
        kinds = {"normalized": task_normalized(temperature), "plain": plain_logits, "cosine": scaled_cosine(scale)}
        self._logits = kinds[logits]
        self.batches, self.means, self.least_factor = batches, means, least_factor
        self.groups, self.next_task = groups, next_task
        self._swap = WeightSwap()

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Know no class yet.

        Raises:
            UserError: If the head has no weights of its own, or does not grow by the classes of each task, or a class
                comes in several tasks and would have centroids.
        """
        check_alignable("classifier_alignment", learner)
        classes = [label for task in scenario.tasks for label in task.classes]
        if self._keeps["kind"] == "centroids" and len({*classes}) < len(classes):
            raise UserError(
                "classifier_alignment: a class of the stream comes in several tasks, and centroids cannot be pooled: "
                "take covariance: full or diagonal"
            )
        self._gaussians = ClassGaussians(learner.backbone.width, **self._keeps)

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Take the statistics of the task's classes, then align the head."""
        generator = learner.generator("classifier alignment")
        self._gaussians.add(learner.features_of(task.train), learner.labels_of(task.train), generator)
        if self.next_task == "unaligned":
            self._swap.replace(learner, head_values(learner))
        if task.index > 0:
            sizes, old = learner.head.sizes, learner.scenario.seen_classes(task.index)
            settings = replace(self._settings, batches=old) if self.batches == "old" else self._settings
            factors = nearness(sizes, self.least_factor) if self.means == "nearness" else None
            groups = None if self.groups == "all" else [len(sizes) - 1]
            given = learner, self._gaussians, settings, generator
            align_head(*given, logits=self._logits, factors=factors, groups=groups)

    def on_task_exit(self, learner: Learner, task: Task) -> None:
        """Unless the next task begins with the aligned head, put it back as it was."""
        if self.next_task == "unaligned":
            self._swap.restore(learner)
