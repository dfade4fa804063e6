"""A method that uses all that the plugin API has beside the training loop, for tests of what must hold of each use."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsuite.data.batch import Batch
from clsuite.learner.learner import Learner, Step
from clsuite.plugin import Plugin, TrainingPlan, Traits, classification_loss


class EveryHook(Plugin):
    """Trains before tasks, in rounds, with soft labels and margins, projects updates, and learns a picture."""

    traits = Traits(memory=("modules", "weights"))
    state = ("kept", "used")

    def __init__(self, rounds: int = 2, lr: float = 1e-3) -> None:
        super().__init__()
        self.rounds, self.lr = rounds, lr
        self.kept, self.used = dict[str, Tensor](), torch.zeros(0)

    def on_stream_start(self, learner: Learner, scenario: Any) -> None:
        picture = torch.zeros(3, *scenario.table.images.shape[-2:])
        learner.register_plugin_module(self, "picture", nn.ParameterList([nn.Parameter(picture)]), role="pictures")
        draws = learner.generator("used")
        self.used = torch.linalg.qr(torch.randn(learner.backbone.width, 4, generator=draws)).Q.to(learner.device)

    def before_task_training(self, learner: Learner, task: Any) -> None:
        optimizer = torch.optim.SGD(learner.parameters(), lr=self.lr)
        for batch in learner.batches_of(task.train):
            loss = F.cross_entropy(learner.step_of(batch).logits.float(), batch.labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            learner.count_gradients(len(batch))

    def on_task_start(self, learner: Learner, task: Any) -> None:
        self.draws = learner.generator("mix")
        if len(learner.head.sizes) > 1:
            learner.head.freeze(range(len(learner.head.sizes) - 1))

    def plan_training(self, learner: Learner, task: Any, plan: TrainingPlan) -> TrainingPlan:
        return dataclasses.replace(plan.with_options(schedule="quarter_cosine"), rounds=self.rounds)

    def parameter_groups(self, learner: Learner) -> list[dict[str, Any]]:
        roles = {role: list(learner.parameters_of(role).values()) for role in ("backbone", "head", "pictures")}
        head = [value for value in roles["head"] if value.requires_grad]
        backbone = [value for value in roles["backbone"] if value.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": head, "lr": 3e-3},
            {"params": roles["pictures"], "lr": 0.01, "optimizer": "sgd", "schedule": "constant"},
        ]
        return groups + ([{"params": backbone, "lr": 5e-4}] if backbone else [])

    def transform_images(self, learner: Learner, images: Tensor) -> Tensor:
        (picture,) = learner.parameters_of("pictures").values()
        return images + picture

    def transform_batch(self, learner: Learner, batch: Batch) -> Batch:
        hot = F.one_hot(batch.labels, learner.head.classes).float()
        return batch.with_columns(targets=0.9 * hot + 0.1 / learner.head.classes, weights=torch.ones_like(hot[:, 0]))

    def classification(self, learner: Learner, step: Step) -> Tensor | None:
        assert learner.task is not None
        columns, scope = step.batch.columns, learner.options.loss
        given = columns["weights"], columns["targets"]
        return classification_loss(step.logits / 0.9, step.batch.labels, scope, learner.task.classes, *given)

    def transform_update(self, learner: Learner, updates: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        used = {name: one for name, one in updates.items() if name.startswith("head.") and name.endswith("weight")}
        return {name: one - one @ self.used @ self.used.T for name, one in used.items()}

    def on_round_end(self, learner: Learner, task: Any, round: int) -> None:
        if round == 0:
            self.kept = learner.head.backup()

    def on_stream_end(self, learner: Learner, scenario: Any) -> None:
        learner.head.recall({name: (value + self.kept[name]) / 2 for name, value in learner.head.backup().items()})
