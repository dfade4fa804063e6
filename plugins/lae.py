"""Learning, accumulation and ensemble (LAE)."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor

from clsuite.data.batch import Batch
from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.peft import PetKind, build_pet
from clsuite.plugin import Plugin, Traits
from clsuite.scenarios import Scenario, Task


class LAE(Plugin):
    """An online module learns, an offline one follows it slowly, and both answer together.

    Gao et al., "A unified continual learning framework with general parameter-efficient tuning" (ICCV 2023):

    * learning (section 3.3): from the second task on the online module rests for the first epochs, while the new head
      learns; the learnable scales calibrate how fast different kinds of modules adapt;
    * accumulation (section 3.4, equation 6): after every step ``offline <- decay * offline + (1 - decay) * online``;
      the offline module begins as a copy of the online one when the second task starts;
    * ensemble (section 3.5, equation 7): for each class the larger of the two softmax probabilities over all seen
      classes. Both share the heads.

    As in the authors' code the cross-entropy runs over the current task's classes alone, new heads begin with N(0,
    0.001), and a task has five epochs (fifty on ImageNet-R). The last small batch of an epoch is kept; they drop it. In
    domain-incremental streams no head is new, and what the rest is for is not there: take ``frozen_epochs: 0``.

    Args:
        pet: ``adapter`` (paper: bottleneck of 5), ``lora`` (rank 5, on key and value) or ``prefix`` (length 10), the
            paper's three, in the first five blocks; ``prompt``, ``ia3``, ``adaptformer`` or ``ssf``, which are not.
        size: Bottleneck, rank or length; by default as above.
        blocks: Where; by default the first five.
        frozen_epochs: Epochs that the online module rests in, fewer than there are (paper: 3 of 5 on CIFAR-100, 30 of
            50 on ImageNet-R).
        decay: Of the offline module, per step (paper: 0.9999). It counts steps: for the same share of a stream of n
            steps a task instead of N, take ``decay ** (N / n)``; on CIFAR-100 with batches of 24, N is 1,040.
    """

    traits = Traits(
        requires=("vit",),
        memory=("modules",),
        incompatible_with={
            "all data": "joint training would start from the modules of the last task",
            "blocks": "both freeze the backbone and add to it",
            "masks": "the backbone is frozen: there is nothing to choose from",
            "modules": "both freeze the backbone and add to it",
        },
        training={"loss": "local", "head_init": 0.001, "epochs": 5},
        scores="probabilities",
        defaults_by={
            "pet": {
                "adapter": {"size": 5, "blocks": "0-4"},
                "lora": {"size": 5, "blocks": "0-4"},
                "prefix": {"size": 10, "blocks": "0-4"},
                "prompt": {"size": 10, "blocks": "0-4"},
                "ia3": {"size": 1, "blocks": "0-4"},
                "adaptformer": {"size": 64, "blocks": "0-4"},
                "ssf": {"size": 1, "blocks": "0-4"},
            }
        },
        paper="Gao, ICCV 2023 (LAE)",
    )

    def __init__(
        self,
        pet: PetKind = "adapter",
        size: int | None = None,
        blocks: str | None = None,
        frozen_epochs: int = 3,
        decay: float = 0.9999,
    ) -> None:
        super().__init__()
        if not 0 <= decay <= 1:
            raise UserError(f"lae: decay is {decay}, but must be between 0 and 1")
        if frozen_epochs < 0:
            raise UserError(f"lae: frozen_epochs is {frozen_epochs}, but must not be negative")
        of_pet = self.traits.filled("lae", {"pet": pet, "size": size, "blocks": blocks})
        self.pet, self.size, self.blocks = pet, of_pet["size"], of_pet["blocks"]
        self.frozen_epochs, self.decay = frozen_epochs, decay
        self._begun = 0

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone; attach both modules, the online one switched on.

        Raises:
            UserError: If the online module would rest in all epochs of later tasks.
        """
        if len(scenario.tasks) > 1 and learner.options.epochs <= self.frozen_epochs:
            raise UserError(
                f"lae: the online module rests in the first {self.frozen_epochs} epochs, and training.epochs is "
                f"{learner.options.epochs}: it would never learn after the first task; give it fewer frozen_epochs"
            )
        learner.backbone.requires_grad_(False)
        generator = torch.Generator().manual_seed(learner.generator("lae").initial_seed())
        model = learner.backbone.model
        self.online, self.offline = (
            build_pet(
                self.pet,
                model,
                size=self.size,
                blocks=self.blocks,
                generator=generator,
                targets="k+v" if self.pet == "lora" else None,
                learn_scale=self.pet in ("lora", "adapter", "prefix"),
            )
            for _ in range(2)
        )
        self.offline.copy_from(self.online)
        self.offline.requires_grad_(False)
        self.offline.enabled = False
        for name, module in (("online", self.online), ("offline", self.offline)):
            learner.register_plugin_module(self, name, module)
            module.attach(model)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """The offline module begins as a copy when the second task starts."""
        self._begun = task.index + 1
        if task.index == 1:
            self.offline.copy_from(self.online)

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Let the online module rest in the first epochs of later tasks (an optimizer skips what has no gradient)."""
        if self._begun > 1 and trainer.current_epoch < self.frozen_epochs:
            for parameter in self.online.parameters():
                parameter.grad = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Accumulate (equation 6)."""
        if self._begun > 1:
            self.offline.average_towards(self.online, self.decay)

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Log of the larger softmax of the two, ``[B, seen classes]`` (equation 7); one expert in the first task."""
        online = self._log_probabilities(learner, batch)
        if self._begun <= 1:
            return online
        with self.online.switched(False), self.offline.switched(True):
            return torch.maximum(online, self._log_probabilities(learner, batch))

    @staticmethod
    def _log_probabilities(learner: Learner, batch: Batch) -> Tensor:
        logits: Tensor = learner.head(learner.encode(batch))
        return logits[:, : learner.seen].float().log_softmax(dim=1)

    def stored_bytes(self) -> dict[str, int]:
        """Both modules."""
        return {"modules": 4 * (self.online.numel + self.offline.numel)}

    def state_dict(self) -> dict[str, Any]:
        """How many tasks have begun; the modules are saved with the learner."""
        return {"begun": self._begun}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """How many tasks have begun: a loaded model has no current task."""
        self._begun = state_dict["begun"]
