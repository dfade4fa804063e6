"""HiDe-PET: HiDe whose task is inferred by a module that all tasks share, in place of the frozen network."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from clsuite.peft import PET, FrozenQuery, attach_pet, only
from clsuite.plugin import Learner, Scenario, Task, check_range, fill_defaults
from clsuite.plugin.helpers import full_precision, refuse_unscaled

from .hide import HiDe


class HiDePET(HiDe):
    """Infers the task of an image under one module that every task trains on, slowly after the first; the rest is HiDe.

    Wang et al., "HiDe-PET: continual learning via hierarchical decomposition of parameter-efficient tuning" (2024), and
    the authors' code. The modules of the tasks, their mean and the aligned head are those of `hide`. What differs:

    * Task identity: before each task a module that all tasks share is trained together with one linear layer, by the
      cross-entropy among the task's classes on augmented images; after the first task with ``slow`` times the rate.
      Statistics are taken of the features under it, and the layer is trained on features drawn for all classes. The
      class that it predicts says whose module a test image is given.
    * Statistics of earlier tasks stay as they are although the shared module moves, slowly.

    The authors train it as a stream of its own, with the epochs of the modules, Adam, a rate of 0.03 (times the batch
    over 256) and gradients clipped at 2; here epochs, rate and clipping are those of the training, and the rate is
    constant. Each task so passes backwards twice.

    Args:
        pet: ``lora`` (HiDe-LoRA), ``prefix`` (HiDe-Prompt) or ``adapter`` (HiDe-Adapter), for both kinds of modules.
        slow: What the rate of the shared module is multiplied with after the first task; by default 0.1, for adapters
            0.01 (authors).
        size: Length, rank or bottleneck, as of `hide`, like all that follow.
        blocks: The transformer blocks that get a module.
        momentum: Share of the mean of earlier modules.
        contrast: Weight of the contrast.
        temperature: Of the contrast.
        centroids: Number of centroids of a class.
        samples: Features drawn for each centroid in an epoch, and in a batch, for the head.
        task_samples: The same for the layer that tells the task (authors: 5 batches of 24).
        epochs: Epochs of each alignment.
        lr: Learning rate of each alignment at the start.
        batches: Which batches of drawn features are used: ``all``, or as many as there are ``old`` classes (code).
        align_decay: Weight decay of each alignment.
        ridge: Share of the mean variance of a centroid that is added to its variances for the draws.
    """

    traits = dataclasses.replace(
        HiDe.traits,
        defaults_by={
            "pet": {
                "prefix": {"size": 5, "blocks": "0-4", "momentum": 0.01, "slow": 0.1},
                "lora": {"size": 5, "blocks": "0-4", "momentum": 0.1, "slow": 0.1},
                "adapter": {"size": 5, "blocks": "0-4", "momentum": 0.1, "slow": 0.01},
            }
        },
        second_pass="it trains the shared module on a task's images before the task's own",
        paper="Wang, 2024 (HiDe-PET)",
    )

    def __init__(
        self,
        pet: Literal["prefix", "lora", "adapter"] = "lora",
        slow: float | None = None,
        size: int | None = None,
        blocks: str | None = None,
        momentum: float | None = None,
        contrast: float = 0.1,
        temperature: float = 0.8,
        centroids: int = 10,
        samples: int = 120,
        task_samples: int = 120,
        epochs: int = 30,
        lr: float = 5e-3,
        batches: Literal["all", "old"] = "all",
        align_decay: float = 5e-4,
        ridge: float = 1e-4,
    ) -> None:
        of_modules: dict[str, Any] = {"size": size, "blocks": blocks, "momentum": momentum, "contrast": contrast}
        of_draws: dict[str, Any] = {"samples": samples, "task_samples": task_samples, "centroids": centroids}
        more: dict[str, Any] = {"temperature": temperature, "align_decay": align_decay, "ridge": ridge}
        super().__init__(pet, epochs=epochs, lr=lr, batches=batches, **of_modules, **of_draws, **more)
        self.slow = fill_defaults("hide_pet", self.traits, pet=pet, slow=slow)["slow"]
        check_range("hide_pet", at_least=0, slow=self.slow)
        self.form, self.task_epochs = "linear", 0  # it is learned with the shared module

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone, and add the shared module and the layer that tells the task."""
        refuse_unscaled("hide_pet", learner.options.precision)
        super().on_stream_start(learner, scenario)
        self.shared = attach_pet(learner, self, "shared", generator=learner.generator("hide shared"), **self._build)
        self.shared.rest()
        self._query = SharedQuery(learner, self.modules, self.shared)

    def before_task_training(self, learner: Learner, task: Task) -> None:
        """Train the shared module and the layer that tells the task."""
        rate, clip = learner.options.optimizer.lr, learner.options.gradient_clip
        parts: list[nn.Module] = [self.shared, self.identity]
        rates = (rate * self.slow if task.index else rate, rate)
        groups = [{"params": list(part.parameters()), "lr": lr} for part, lr in zip(parts, rates, strict=True)]
        trained = [value.requires_grad_(True) for part in parts for value in part.parameters()]
        optimizer = torch.optim.Adam(groups)
        classes = torch.tensor(task.classes, device=learner.device)
        with only([self.shared, *self.modules], 0):
            for _ in range(learner.options.epochs):
                for batch in learner.batches_of(task.train):
                    features = learner.step_of(batch).features.float()
                    with full_precision(features):
                        logits = self.identity.layers(features)[:, classes]
                    loss = F.cross_entropy(logits, torch.searchsorted(classes, batch.labels))
                    optimizer.zero_grad()
                    loss.backward()
                    if clip is not None:
                        nn.utils.clip_grad_norm_(trained, clip)
                    optimizer.step()
                    learner.count_gradients(len(batch))


class SharedQuery(FrozenQuery):
    """Features of images without augmentation under one module, the others disabled; kept until it is trained again."""

    def __init__(self, learner: Learner, modules: list[PET], shared: PET) -> None:
        """Create an empty cache.

        Args:
            learner: The learner; its backbone must be frozen.
            modules: The modules to disable; may grow later.
            shared: The one that acts.
        """
        super().__init__(learner, modules)
        self._shared = shared

    def of_rows(self, rows: NDArray[np.int64]) -> Tensor:
        """Features ``[len(rows), width]`` of rows of the table."""
        with self._shared.switched(True):
            return super().of_rows(rows)

    def of_images(self, images: Tensor) -> Tensor:
        """Features ``[B, width]`` of transformed images."""
        with self._shared.switched(True):
            return super().of_images(images)
