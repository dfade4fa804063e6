"""KeepLoRA: branches that read neither the weights' main directions nor those of earlier tasks' inputs."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from clsuite.peft import LoRA, attach_pet, choose_blocks, transformer_blocks
from clsuite.plugin import Learner, Plugin, Scenario, Task, Traits, UserError, check_range, classification_loss
from clsuite.plugin.helpers import grown, main_directions, refuse_unscaled, token_covariances, without


class KeepLoRA(Plugin):
    """Each task trains a low-rank branch in directions of its own gradient that the pre-training leaves free.

    Luo et al., "KeepLoRA: continual learning with residual gradient adaptation" (ICLR 2026), and the authors' code.
    Queries, keys, values and the output of each attention get ``W x + factor * B A x``, with a factor of ``1 / rank``.

    * Before the first task, the space M of each projection has the main directions of its weight: the fewest that hold
      ``weight_energy`` of its squared norm.
    * Start of a task: G is the mean gradient of the classification loss over the task's batches, of the full weights.
      Of ``G (I - M M')``, the first right singular vectors are the rows of A, which is fixed. B begins with the other
      factors, and ``factor * B A`` is taken out of W, so that no answer changes; B and the head are trained.
    * End of a task: the branch goes into the weights, and M grows by the directions of the projection's inputs until it
      has ``input_energy`` of their energy (GPM).

    Differences from the code: it takes M of the weights from their left singular vectors, which are directions of
    outputs, and applies it to inputs; here they are those of inputs (``weight_side``). It sums the inputs token by
    token over batches, so that different images share a place; here M grows by their covariance. It fine-tunes both
    towers of a CLIP, with the task known; here it is the image tower, or any vision transformer, whose new head has no
    direction yet when G is computed. The cross-entropy is over the current task's classes. Rate, epochs and schedule
    are the benchmark's (authors: AdamW with 1e-3, one cycle, 10 epochs, batch 64). Their weight decay of 0.01 pulls B
    towards zero rather than towards its start, so that the traits have none.

    Args:
        rank: Rank of a branch (authors: 16).
        weight_energy: Share of the weights' squared norm that the first spaces hold (authors: 0.85); 0 keeps none.
        input_energy: Share of the inputs' energy that a space holds after a task (authors: 0.99); 0 keeps none.
        weight_side: Of which singular vectors of the weights the first spaces are: ``inputs``, or ``outputs`` as in the
            code.
        blocks: The transformer blocks that get branches: ``all`` (the paper's), ``0-4``.
    """

    traits = Traits(
        freezes_backbone=True,
        requires=("vit",),
        memory=("modules", "statistics"),
        pet=("lora",),
        second_pass="it passes a task's images once more for a gradient before the training, and for inputs after it",
        incompatible_with={
            "weights": "the branch goes into the weights and begins anew with each task: kept weights would not fit",
            "importances": "the branch begins anew with each task: importances would be those of another branch",
        },
        training={"loss": "local", "optimizer": {"name": "adamw", "weight_decay": 0.0}},
        effects=("changes weights",),
        paper="Luo, ICLR 2026 (KeepLoRA)",
    )
    state = ("_spaces",)

    def __init__(
        self,
        rank: int = 16,
        weight_energy: float = 0.85,
        input_energy: float = 0.99,
        weight_side: Literal["inputs", "outputs"] = "inputs",
        blocks: str = "all",
    ) -> None:
        super().__init__()
        check_range("keeplora", at_least=1, rank=rank)
        check_range("keeplora", at_least=0, at_most=1, weight_energy=weight_energy, input_energy=input_energy)
        self.rank, self.weight_energy, self.input_energy = rank, weight_energy, input_energy
        self.weight_side, self.blocks = weight_side, blocks
        self._gradients: dict[str, Tensor] = {}

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone, attach the branch, and take the main directions of the weights."""
        refuse_unscaled("keeplora", learner.options.precision)
        if learner.options.head != "zero_shot" and learner.options.first_values == 0:
            raise UserError("keeplora: training.head_init is 0, and no gradient passes a head of zeros: write 0.001")
        model = learner.backbone.model
        self._numbers = choose_blocks(transformer_blocks(model), self.blocks)
        build = {"size": self.rank, "blocks": self.blocks, "targets": "q+k+v+proj", "alpha": 1.0}
        branch = attach_pet(learner, self, "branch", "lora", generator=learner.generator("keeplora"), **build)
        assert isinstance(branch, LoRA)
        self.branch, self._spaces = branch, dict[str, Tensor]()
        for name, weight in self.branch.adapted_weights(model).items():
            self._down(name).requires_grad_(False)
            side = weight if self.weight_side == "inputs" else weight.T
            self._spaces[name] = main_directions(side.detach().cpu(), self.weight_energy)

    def _down(self, name: str) -> nn.Parameter:
        down = self.branch.parts[name].down
        assert isinstance(down, nn.Parameter)
        return down

    def before_task_training(self, learner: Learner, task: Task) -> None:
        """Compute the mean gradient of the full weights over the task's batches."""
        learner.backbone.requires_grad_(True)
        batches = 0
        for batch in learner.batches_of(task.train):
            logits = learner.step_of(batch).logits
            classification_loss(logits, batch.labels, learner.options.loss, task.classes).backward()
            learner.count_gradients(len(batch))
            batches += 1
        summed = self.branch.adapted_weights(learner.backbone.model, gradients=True)
        self._gradients = {name: gradient / batches for name, gradient in summed.items()}

    @torch.no_grad()
    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Begin a branch in the gradient's free directions, without a change of any answer."""
        learner.optimizer_policy.forget("plugin_modules.")  # also where it is carried on: the branch begins anew
        for name, gradient in self._gradients.items():
            up = self.branch.parts[name].up
            assert isinstance(up, nn.Parameter)
            rows, columns = free_factors(gradient.cpu(), self._spaces[name], self.rank)
            self._down(name).copy_(rows)
            up.copy_(columns)
        if self._gradients:
            self.branch.merge(learner.backbone.model, sign=-1.0)
        self._gradients = {}

    @torch.no_grad()
    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Add the branch to the weights, and the directions of the projections' inputs to the spaces."""
        self.branch.merge(learner.backbone.model)
        for name, values in self.branch.named_parameters():
            if name.endswith("up"):
                values.zero_()
        if not self.input_energy:
            return
        inputs = token_covariances(learner, task.train, self._numbers)
        outputs = token_covariances(learner, task.train, self._numbers, of="output")
        for place, number in enumerate(self._numbers):
            for target in ("q", "k", "v", "proj"):
                name, moment = f"{number}_{target}", (outputs if target == "proj" else inputs)[place]
                self._spaces[name] = grown(moment, self._spaces[name], self.input_energy, "paper")


def free_factors(gradient: Tensor, space: Tensor, rank: int, empty: float = 1e-6) -> tuple[Tensor, Tensor]:
    """The main part of a gradient ``[outputs, inputs]`` outside of a space ``[inputs, k]``, as two factors.

    Args:
        gradient: The gradient.
        space: Orthonormal columns.
        rank: Number of directions.
        empty: Share of the largest singular value up to which a direction is rounding error, and not free.

    Returns:
        Orthonormal rows ``[rank, inputs]``, and what they are multiplied with, ``[outputs, rank]``. Where fewer
        directions are free, further rows and columns are zero.
    """
    left, values, right = torch.linalg.svd(without(gradient.double(), space), full_matrices=False)
    free = (values > empty * values[0].clamp_min(1e-300))[:rank, None]
    rows = without(right[:rank], space)
    return torch.where(free, rows, 0.0).float(), torch.where(free.T, left[:, :rank] * values[:rank], 0.0).float()
