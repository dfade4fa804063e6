"""InfLoRA: low-rank branches that read only what earlier tasks' inputs leave free."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from clsuite.peft import LoRA, attach_pet, choose_blocks, transformer_blocks
from clsuite.plugin import Learner, Plugin, Scenario, Task, Traits, check_range
from clsuite.plugin.helpers import complement, free_directions, grown, lessened, token_covariances


class InfLoRA(Plugin):
    """Each task trains a low-rank branch whose inputs are orthogonal to those of earlier tasks.

    Liang & Li, "InfLoRA: interference-free low-rank adaptation for continual learning" (CVPR 2024), and the authors'
    code. Keys and values of each block get ``W x + B A x``. In each task A is fixed, the same for keys and values, and
    B begins with zero and is trained with the head. No exemplars are kept.

    * Start of a task: C is the mean of ``x x'`` over all tokens of the task's images, x being the input of the
      attention. Of ``C`` without what lies in the space of earlier inputs, the first left singular vectors are, scaled,
      the rows of A. The first task has no such space.
    * End of a task (DualGPM): the space is a basis M of the directions that earlier inputs use, to which directions are
      added until a share of the energy is kept, which rises over the stream from ``energy`` to 1. Once it has more than
      half of all directions, M becomes a basis of the free ones, from which directions are taken. Where fewer than
      ``rank`` are free, further rows of A are zero.
    * The head's logits of all classes are compared. The branch is added to the weights when the next task begins.

    The code decomposes ``C``, whose singular values are the squares of the inputs', and squares them again: its share
    keeps far fewer directions than the paper's rule, GPM's on the inputs. The default is the code's, which made the
    published numbers (``criterion``). It takes C from augmented images (``augmented``); here no draw decides.

    The traits set what the authors train with: the cross-entropy over the current task's classes, Adam without weight
    decay, and a quarter of a cosine over the epochs. Learning rate, epochs and batch size are the benchmark's (authors:
    5e-4 and 128; 20 epochs on CIFAR-100, 50 on ImageNet-R; on DomainNet SGD with 5e-3 and 5 epochs). Their variants:
    ``blocks: 0-4, retain: false`` is InfLoRA-b5 (``energy: 0.99`` on ImageNet-R), and ``[inflora,
    classifier_alignment]`` with ``next_task: aligned`` is InfLoRA+CA, for which they use ``rank: 5, retain: false``.

    Args:
        rank: Rows of A (authors: 10; 30 on DomainNet).
        energy: Share of the energy that the space keeps at first (authors: 0.95; 0.98 on ImageNet-R).
        criterion: Whose energy it is: of C's squared singular values (``code``) or of the inputs (``paper``).
        blocks: The transformer blocks that get a branch: ``all`` (the paper's), ``0-4``.
        retain: Whether the free directions are kept once they are fewer (DualGPM), or always those in use (GPM).
        augmented: Whether C is taken from augmented images.
        divisor: What A's rows, of length 1, are divided by (authors' code: the root of 3).
    """

    traits = Traits(
        freezes_backbone=True,
        requires=("vit",),
        memory=("modules", "statistics"),
        pet=("lora",),
        second_pass="it passes a task's images once more for their covariance, before and after training",
        incompatible_with={
            "weights": "the branch goes into the weights and begins anew with each task: kept weights would not fit",
            "importances": "the branch begins anew with each task: importances would be those of another branch",
        },
        training={"loss": "local", "schedule": "quarter_cosine", "optimizer": {"name": "adam", "weight_decay": 0.0}},
        paper="Liang, CVPR 2024 (InfLoRA)",
    )
    state = ("_bases", "_free")

    def __init__(
        self,
        rank: int = 10,
        energy: float = 0.95,
        criterion: Literal["code", "paper"] = "code",
        blocks: str = "all",
        retain: bool = True,
        augmented: bool = False,
        divisor: float = 1.7320508075688772,
    ) -> None:
        super().__init__()
        check_range("inflora", at_least=1, rank=rank)
        check_range("inflora", above=0, at_most=1, energy=energy)
        check_range("inflora", above=0, divisor=divisor)
        self.rank, self.energy, self.criterion, self.blocks = rank, energy, criterion, blocks
        self.retain, self.augmented, self.divisor = retain, augmented, divisor

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone and attach the branch, keys and values with the same A."""
        model = learner.backbone.model
        self._numbers = choose_blocks(transformer_blocks(model), self.blocks)
        build = {"size": self.rank, "blocks": self.blocks, "targets": "k+v"}
        branch = attach_pet(learner, self, "branch", "lora", generator=learner.generator("inflora"), **build)
        assert isinstance(branch, LoRA)
        self.branch = branch
        for number in self._numbers:
            shared = branch.parts[f"{number}_k"].down
            branch.parts[f"{number}_v"].down = shared
            shared.requires_grad_(False)
        width = transformer_blocks(model)[0].attn.qkv.in_features
        self._bases, self._free = [torch.zeros(width, 0) for _ in self._numbers], [False] * len(self._numbers)

    @torch.no_grad()
    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Add the last task's branch to the weights, and begin another one in the free directions."""
        if task.index > 0:
            self.branch.merge(learner.backbone.model)
            learner.optimizer_policy.forget("plugin_modules.")  # also where it is carried on: the branch begins anew
        for name, values in self.branch.named_parameters():
            if name.endswith("up"):
                values.zero_()
        moments = token_covariances(learner, task.train, self._numbers, self.augmented)
        for number, moment, basis, free in zip(self._numbers, moments, self._bases, self._free, strict=True):
            rows = free_directions(moment, basis, free, self.rank) / self.divisor
            down = self.branch.parts[f"{number}_k"].down
            assert isinstance(down, nn.Parameter)
            down.copy_(rows)

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Add the directions of the task's inputs to the space."""
        least = self.energy + (1 - self.energy) * task.index / learner.scenario.planned_tasks
        moments = token_covariances(learner, task.train, self._numbers, self.augmented)
        for place, moment in enumerate(moments):
            basis, free = self._bases[place], self._free[place]
            basis = (
                lessened(moment, basis, least, self.criterion) if free else grown(moment, basis, least, self.criterion)
            )
            if self.retain and not free and 2 * basis.shape[1] > len(basis):
                basis, free = complement(basis), True
            self._bases[place], self._free[place] = basis, free

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the branch, whose A counts once, and of the bases."""
        branch = sum(values.numel() * values.element_size() for values in self.branch.parameters())
        return {"modules": branch, "statistics": sum(4 * basis.numel() for basis in self._bases)}
