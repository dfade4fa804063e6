"""Learning, accumulation and ensemble (LAE)."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor

from clsuite.peft import PetKind, attach_pet
from clsuite.plugin import Batch, Learner, Plugin, Scenario, Task, Traits, UserError, check_range, fill_defaults


class LAE(Plugin):
    """An online module learns, an offline one follows it slowly, and both answer together.

    Gao et al., "A unified continual learning framework with general parameter-efficient tuning" (ICCV 2023):

    * Learning (section 3.3): from the second task on, the online module is frozen for the first epochs, while the new
      head learns. Learnable scales calibrate how fast different kinds of modules adapt.
    * Accumulation (section 3.4, equation 6): ``offline <- decay * offline + (1 - decay) * online`` after every step.
      The offline module starts as a copy of the online one at the start of the second task.
    * Ensemble (section 3.5, equation 7): for each class the larger of the two softmax probabilities over all seen
      classes. Both modules share the heads.

    As in the authors' code, the cross-entropy is over the classes of the current task only, new heads are initialized
    with N(0, 0.001), and a task has five epochs (fifty on ImageNet-R). The last, smaller batch of an epoch is kept,
    where the authors drop it. In domain-incremental streams there is no new head, and freezing the online module has no
    purpose: use ``frozen_epochs: 0``.

    Args:
        pet: ``adapter`` (paper: bottleneck of 5), ``lora`` (rank 5, on key and value) or ``prefix`` (length 10), the
            paper's three, in the first five blocks; or ``prompt``, ``ia3``, ``adaptformer`` or ``ssf``, which are not
            in the paper.
        size: Bottleneck, rank or length; by default as above.
        blocks: The transformer blocks that get a module; by default the first five.
        frozen_epochs: Number of epochs in which the online module is frozen, fewer than a task has (paper: 3 of 5 on
            CIFAR-100, 30 of 50 on ImageNet-R).
        adapter_scale: For AdaptFormer only: what its output is multiplied with (authors: 0.1).
        adapter_dropout: For AdaptFormer only: dropout probability of its hidden units in training (authors: 0.1).
        decay: Decay of the offline module in each step (paper: 0.9999). To keep the same share in a stream of n steps a
            task instead of N, use ``decay ** (N / n)``; on CIFAR-100 with batches of 24, N is 1,040.
    """

    traits = Traits(
        freezes_backbone=True,
        requires=("vit",),
        memory=("modules",),
        training={"loss": "local", "head_init": 0.001, "epochs": 5},
        scores="probabilities",
        defaults_by={
            "pet": {
                "adapter": {"size": 5, "blocks": "0-4"},
                "lora": {"size": 5, "blocks": "0-4"},
                "prefix": {"size": 10, "blocks": "0-4"},
                "prompt": {"size": 10, "blocks": "0-4"},
                "ia3": {"size": 1, "blocks": "0-4"},
                "adaptformer": {"size": 64, "blocks": "0-4", "adapter_scale": 0.1, "adapter_dropout": 0.1},
                "ssf": {"size": 1, "blocks": "0-4"},
            }
        },
        paper="Gao, ICCV 2023 (LAE)",
    )
    state = ("_begun",)

    def __init__(
        self,
        pet: PetKind = "adapter",
        size: int | None = None,
        blocks: str | None = None,
        frozen_epochs: int = 3,
        decay: float = 0.9999,
        adapter_scale: float | None = None,
        adapter_dropout: float | None = None,
    ) -> None:
        super().__init__()
        check_range("lae", at_least=0, at_most=1, decay=decay)
        check_range("lae", at_least=0, frozen_epochs=frozen_epochs)
        of_adapter = {"adapter_scale": adapter_scale, "adapter_dropout": adapter_dropout}
        self._build = fill_defaults("lae", self.traits, pet=pet, size=size, blocks=blocks, **of_adapter)
        kind = self._build["kind"] = self._build.pop("pet")
        self._build |= {"targets": "k+v" if kind == "lora" else None}
        self._build |= {"learn_scale": kind in ("lora", "adapter", "prefix")}
        self.frozen_epochs, self.decay = frozen_epochs, decay
        self._begun = 0

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone and attach both modules, with the online one active.

        Raises:
            UserError: If the online module would be frozen in all epochs of later tasks. Where a plugin plans epochs
                task by task, this is known, and raised, when the second task is trained.
        """
        if len(scenario.tasks) > 1 and not any(plans(plugin) for plugin in learner.plugins):
            self._check_epochs("training.epochs is", learner.options.epochs)
        build = {**self._build, "generator": learner.generator("lae")}
        self.online, self.offline = (attach_pet(learner, self, name, **build) for name in ("online", "offline"))
        self.offline.copy_from(self.online)
        self.offline.rest()

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Copy the online module to the offline one at the start of the second task."""
        self._begun = task.index + 1
        if task.index == 1:
            self.offline.copy_from(self.online)

    def _check_epochs(self, words: str, epochs: int) -> None:
        if epochs <= self.frozen_epochs:
            raise UserError(
                f"lae: the online module rests in the first {self.frozen_epochs} epochs, and {words} {epochs}: it "
                "would never learn after the first task; give it fewer frozen_epochs"
            )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check the epochs that plugins have planned for a later task.

        Raises:
            UserError: If the online module would be frozen in all of them.
        """
        if self._begun > 1 and trainer.max_epochs is not None:
            self._check_epochs(f"the epochs planned for task {self._begun - 1} are", trainer.max_epochs)

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Freeze the online module in the first epochs of later tasks: parameters without gradients are skipped."""
        if self._begun > 1 and trainer.current_epoch < self.frozen_epochs:
            for parameter in self.online.parameters():
                parameter.grad = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the offline module (equation 6)."""
        if self._begun > 1:
            self.offline.average_towards(self.online, self.decay)

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Log of the larger of the two softmaxes, ``[B, seen classes]`` (equation 7); the first task has one."""
        online = self._log_probabilities(learner, batch)
        if self._begun <= 1:
            return online
        with self.online.switched(False), self.offline.switched(True):
            return torch.maximum(online, self._log_probabilities(learner, batch))

    @staticmethod
    def _log_probabilities(learner: Learner, batch: Batch) -> Tensor:
        logits: Tensor = learner.head(learner.encode(batch))
        return logits[:, : learner.seen].float().log_softmax(dim=1)


def plans(plugin: Plugin) -> bool:
    """Whether a plugin plans the training of tasks."""
    return type(plugin).plan_training is not Plugin.plan_training
