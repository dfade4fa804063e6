"""SD-LoRA: a low-rank direction for each task, and magnitudes of all of them that stay trainable."""

from __future__ import annotations

from typing import Literal

import torch

from clsuite.peft import DecoupledLoRA, choose_blocks, transformer_blocks
from clsuite.plugin import Learner, Plugin, Scenario, Task, Traits, UserError, check_range


class SDLoRA(Plugin):
    """Each task adds a low-rank direction; finished directions are fixed, and their magnitudes are trained further.

    Wu et al., "SD-LoRA: scalable decoupled low-rank adaptation for class incremental learning" (ICLR 2025), and the
    authors' code. Queries and values of all blocks get ``W x + s_t B_t A_t x + sum_i s_i D_i x``, where ``D_i`` is
    ``B_i A_i`` of an earlier task divided by a norm. A and B of the current task, the magnitudes of all tasks, one
    number each for the whole network, and the head are trained. There is one pass at test time, no exemplars and no
    task to choose.

    * The paper divides by the norm of ``B A``, its code by the norm of B times that of A, so that its directions are
      shorter than 1 (``norm``). The code's is the default, for the published numbers come from it.
    * The code does not divide the current direction, and lets all magnitudes begin anew at each task. A finished
      direction therefore jumps from its trained size to the first magnitude (``boundary: reset``, the default).
      ``boundary: carry`` goes on with what was trained: a direction is divided by one number, the root mean square of
      the projections' norms, and its magnitude multiplied with it, so that no answer changes when a task begins.
    * Reduced rank (RR): later tasks have smaller ranks, ``later_ranks: "4:8, 8:6"`` in the code.
    * Knowledge distillation (KD): a new direction that is nearly a sum of the earlier ones is dropped, and
      its coefficients go into their magnitudes (``drop_below``). What is compared with the threshold is the share of
      its squared norm, over all projections together, that least squares leave; LibContinual has 9e-4. It needs
      ``boundary: carry``, as a reset would forget the coefficients.

    The orthogonality loss that the code computes and drops is left out. The traits set what the authors train with: the
    cross-entropy over the current task's classes, and SGD with momentum 0.9 and without weight decay, as in their code
    (their paper: Adam). Learning rate, epochs and batch size are the benchmark's (authors: a constant 8e-3 on
    CIFAR-100, 1e-2 on ImageNet-R and -A, 20 epochs, 128 images; 2e-2 and 10 epochs on DomainNet).

    Args:
        rank: Rank of a direction (authors: 10).
        later_ranks: Ranks from some tasks on, counted from 0: ``4:8, 8:6`` (RR); by default all have ``rank``.
        norm: What finished directions are divided by: the ``product`` of the norms (code), or the norm of the product
            (``paper``).
        boundary: What happens to magnitudes when a task begins: ``reset`` or ``carry``.
        magnitude: First magnitude (authors: 0.8; LibContinual: 1).
        drop_below: Drops a direction of which the earlier ones leave less than this share; 0 keeps all.
        blocks: The transformer blocks that get directions: ``all`` (the paper's), ``0-4``.
    """

    traits = Traits(
        freezes_backbone=True,
        requires=("vit",),
        memory=("modules",),
        pet=("lora",),
        training={"loss": "local", "optimizer": {"name": "sgd", "momentum": 0.9, "weight_decay": 0.0}},
        paper="Wu, ICLR 2025 (SD-LoRA)",
        effects=("adds modules", "changes weights"),
    )
    state = ("_ranks",)

    def __init__(
        self,
        rank: int = 10,
        later_ranks: str = "",
        norm: Literal["product", "paper"] = "product",
        boundary: Literal["reset", "carry"] = "reset",
        magnitude: float = 0.8,
        drop_below: float = 0.0,
        blocks: str = "all",
    ) -> None:
        super().__init__()
        check_range("sd_lora", at_least=1, rank=rank)
        check_range("sd_lora", above=0, magnitude=magnitude)
        check_range("sd_lora", at_least=0, at_most=1, drop_below=drop_below)
        if drop_below and boundary == "reset":
            raise UserError(
                "sd_lora: drop_below puts a direction into the magnitudes of others, which boundary: reset forgets: "
                "write boundary: carry"
            )
        self.ranks = {0: rank, **ranks_by_task(later_ranks)}
        self.norm, self.boundary, self.magnitude = norm, boundary, magnitude
        self.drop_below, self.blocks = drop_below, blocks
        self._ranks: list[int] = []

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone and attach what will hold the directions.

        Raises:
            UserError: If a rank, also one of a later task, does not fit the width.
        """
        learner.backbone.requires_grad_(False)
        model = learner.backbone.model
        numbers = choose_blocks(transformer_blocks(model), self.blocks)
        scope: Literal["all", "projection"] = "all" if self.boundary == "carry" else "projection"
        self.module, self._ranks = DecoupledLoRA(model, numbers, norm=self.norm, scope=scope), []
        for rank in self.ranks.values():
            self.module.check_rank(rank)
        learner.register_plugin_module(self, "directions", self.module)
        self.module.attach(model)

    def rebuild_modules(self, learner: Learner, tasks: int) -> None:
        """Create the directions again that were there."""
        for rank in self.saved_state["_ranks"]:
            self.module.add(rank, self.magnitude, torch.Generator())

    @torch.no_grad()
    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Finish the last task's direction, and begin another one."""
        rank = self.ranks[max(first for first in self.ranks if first <= task.index)]
        norms = self.module.add(rank, self.magnitude, learner.generator("sd_lora"))
        self._ranks = [*self._ranks, rank]
        magnitudes = f"plugin_modules.{type(self).__name__}_directions.magnitudes."
        learner.optimizer_policy.forget(magnitudes)  # also where it is carried on: they begin anew, or in another unit
        for number, value in enumerate(self.module.magnitudes):
            if self.boundary == "reset":
                value.fill_(self.magnitude)
            elif number == len(self._ranks) - 2:
                value.mul_(norms[0])

    @torch.no_grad()
    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Drop the new direction if the earlier ones can stand for it."""
        if not self.drop_below or len(self._ranks) < 2:
            return
        fit, left = self.module.fit_of_last()
        if left < self.drop_below:
            *earlier, last = self.module.magnitudes
            for value, share in zip(earlier, fit, strict=True):
                value.add_(share * last)
            self.module.drop_last()
            self._ranks = self._ranks[:-1]
            learner.forget_features()


def ranks_by_task(text: str) -> dict[int, int]:
    """Ranks by the first task that has them, of a text such as ``4:8, 8:6``.

    Raises:
        UserError: If it cannot be read.
    """
    found: dict[int, int] = {}
    for part in filter(None, text.replace(" ", "").split(",")):
        first, _, rank = part.partition(":")
        if not (first.isdecimal() and rank.isdecimal() and int(first) and int(rank)):
            raise UserError(f"sd_lora: later_ranks '{text}' cannot be read: write task:rank, such as 4:8, 8:6")
        if int(first) in found:
            raise UserError(f"sd_lora: later_ranks '{text}' gives task {int(first)} two ranks")
        found[int(first)] = int(rank)
    return found
