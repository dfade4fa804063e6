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

    The paper trains with cross-entropy over the current task's classes alone: say ``training: {loss: local}``.

    Args:
        pet: ``adapter`` (bottleneck), ``lora`` (rank, on key and value) or ``prefix`` (length).
        size: Bottleneck, rank or length (paper: 5, 5 and 10).
        blocks: Where (paper: the first five).
        frozen_epochs: Epochs that the online module rests in (paper: 3 of 5 on CIFAR-100, 30 of 50 on ImageNet-R).
        decay: Of the offline module, per step (paper: 0.9999). It counts steps: for the same share of a stream of n
            steps a task instead of N, take ``decay ** (N / n)``; on CIFAR-100 with batches of 24, N is 1,040.
    """

    traits = Traits(
        needs=("vit",),
        stores=("modules",),
        forbids={
            "all data": "joint training would start from the modules of the last task",
            "blocks": "both freeze the backbone and add to it",
            "masks": "the backbone is frozen: there is nothing to choose from",
            "modules": "both freeze the backbone and add to it",
        },
        paper="Gao, ICCV 2023 (LAE)",
    )

    def __init__(
        self,
        pet: PetKind = "adapter",
        size: int = 5,
        blocks: str = "0-4",
        frozen_epochs: int = 3,
        decay: float = 0.9999,
    ) -> None:
        super().__init__()
        if not 0 <= decay <= 1:
            raise UserError(f"lae: decay is {decay}, but must be between 0 and 1")
        self.pet, self.size, self.blocks = pet, size, blocks
        self.frozen_epochs, self.decay = frozen_epochs, decay

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone; attach both modules, the online one switched on."""
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
                targets="k+v",
                learn_scale=True,
            )
            for _ in range(2)
        )
        self.offline.copy_from(self.online)
        self.offline.requires_grad_(False)
        self.offline.enabled = False
        for name, module in (("online", self.online), ("offline", self.offline)):
            learner.add_module_of(self, name, module)
            module.attach(model)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """The offline module begins as a copy when the second task starts."""
        if task.index == 1:
            self.offline.copy_from(self.online)

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Let the online module rest in the first epochs of later tasks (an optimiser skips what has no gradient)."""
        assert isinstance(pl_module, Learner)
        if self._index(pl_module) > 0 and trainer.current_epoch < self.frozen_epochs:
            for parameter in self.online.parameters():
                parameter.grad = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Accumulate (equation 6)."""
        assert isinstance(pl_module, Learner)
        if self._index(pl_module) > 0:
            self.offline.average_towards(self.online, self.decay)

    @staticmethod
    def _index(learner: Learner) -> int:
        return -1 if learner.task is None else learner.task.index

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Log of the larger softmax of the two, ``[B, seen classes]`` (equation 7); one expert in the first task."""
        online: Tensor = learner.head(learner.encode(batch)).float().softmax(dim=1)
        if self._index(learner) == 0:
            return online.log()
        with self.online.switched(False), self.offline.switched(True):
            offline: Tensor = learner.head(learner.encode(batch)).float().softmax(dim=1)
        return torch.maximum(online, offline).log()

    def stored_bytes(self) -> dict[str, int]:
        """Both modules."""
        return {"modules": 4 * (self.online.numel + self.offline.numel)}

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the modules are saved with the learner."""
        return {}
