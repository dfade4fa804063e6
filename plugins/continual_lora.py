"""Low-rank continual personalization: what becomes of a task's LoRA when the next one begins."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from clsuite.peft import LoRA, LowRank, attach_pet
from clsuite.plugin import Learner, Plugin, Scenario, Task, Traits, UserError, check_range, fill_defaults


class ContinualLoRA(Plugin):
    """Trains a LoRA that goes on, is merged, begins orthogonal to the last one, or is merged by magnitude.

    Staniszewski et al., "Low-rank continual personalization of diffusion models" (2024), and the authors' code, where
    each task is an object or a style that Stable Diffusion XL learns to draw (rank 64, 850 steps). Here a task is one
    of classes, with a head. The four regimes, by the names of the code:

    * ``naive`` (``naive_cl``): one LoRA goes on from task to task. It is `pet` to the bit.
    * ``merge`` (``merge_and_init``): the LoRA is added to the weights, and the next task begins another one. It is
      ``pet(after_task=merge)`` to the bit.
    * ``ortho`` (``ortho_init``): as ``merge``, but each column of the next A is orthogonal to the same column of the
      last one: its last right singular vector, of length 1. This makes no subspaces orthogonal: ``start: rows`` does,
      with an A that is drawn and freed of the directions that the last one reads.
    * ``mag_max`` (``mag_max_light``; MagMax of Marczak et al., ECCV 2024): of what all earlier tasks together and what
      this task has added to the weights, the entry of larger magnitude stays, the task's where both are alike. It is
      added to the pre-trained weights. The function changes before the task is evaluated.

    In ``ortho`` the code keeps sums of all A and of all B, and adds the product of these sums to the pre-trained
    weights: products of one task's B with another's A come with it, and an evaluated model is not the one that was
    trained (``combine: factors``). ``combine: products`` adds each task's own product. "Last A" is the sum there, and
    the task's own A here. The paper's model has one A and one B of all tasks, as the sums are; both defaults are
    the code's. The code draws the first A with a deviation of 1 / rank, here it is LoRA's uniform one.

    Columns of length 1 are an A many times as large as a drawn one, and not a random one: the last singular vectors of
    all columns are nearly the last unit vector (LAPACK; rank 8, 192 inputs: 80 % of A's squared norm is in its last
    row, whose entries have a mean of 0.9, and its largest singular value is 12 where that of LoRA's A is 0.7). What
    B learns first is a product with the sum of the inputs, and a rate that suits `pet` is too large: on the quickstart
    25.0 % remain with 0.003 (seed 0), where `pet` has 78.6 and ``mag_max`` 76.8; on validation images of another seed
    88.3 % with 0.001, 77.7 with 0.003, 39.0 with 0.01. It is the columns, not the sums: on five tasks of 18 images a
    class, 69.7 % remain with 0.003, 66.6 with products, 79.1 with products and rows, and 79.2 with 0.001.

    Args:
        regime: ``naive``, ``merge``, ``ortho`` or ``mag_max``.
        rank: Rank of a LoRA (authors: 64, for layers of width 640 to 1,280).
        blocks: The transformer blocks that get one: ``all``, ``0-4``, ``0,2,5``.
        targets: Projections among ``q``, ``k``, ``v``, ``proj``, ``fc1``, ``fc2``, joined by ``+`` (authors:
            ``q+k+v+proj``).
        alpha: Numerator of the scaling factor; null takes the rank, as the authors.
        combine: For ``ortho`` only: ``factors`` (code) or ``products``; null takes ``factors``.
        start: For ``ortho`` only: ``columns`` (code) or ``rows``; null takes ``columns``.
    """

    traits = Traits(
        freezes_backbone=True,
        requires=("vit",),
        memory=("modules", "weights"),
        pet=("lora",),
        incompatible_with={
            "weights": "the LoRA goes into the weights and begins anew: kept weights would not fit",
            "importances": "the LoRA goes into the weights and begins anew: importances would be another one's",
        },
        training={"loss": "local"},
        defaults_by={
            "regime": {"naive": {}, "merge": {}, "mag_max": {}, "ortho": {"combine": "factors", "start": "columns"}}
        },
        paper="Staniszewski, 2024 (continual LoRA)",
        effects=("changes weights",),
    )
    state = ("_kept",)

    def __init__(
        self,
        regime: Literal["naive", "merge", "ortho", "mag_max"] = "merge",
        rank: int = 8,
        blocks: str = "all",
        targets: str = "q+v",
        alpha: float | None = None,
        combine: Literal["factors", "products"] | None = None,
        start: Literal["columns", "rows"] | None = None,
    ) -> None:
        super().__init__()
        check_range("continual_lora", at_least=1, rank=rank)
        given = fill_defaults("continual_lora", self.traits, regime=regime, combine=combine, start=start)
        self.regime, self.combine, self.start = regime, given["combine"], given["start"]
        if self.start == "columns" and rank == 1:
            raise UserError("continual_lora: columns of length 1 have no orthogonal ones: write rank 2, or start: rows")
        self._build: dict[str, Any] = {"size": rank, "blocks": blocks, "targets": targets, "alpha": alpha}
        self._kept: dict[str, Tensor] = {}

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone and attach a LoRA, drawn as `pet` draws it."""
        module = attach_pet(learner, self, "module", "lora", generator=learner.generator("pet"), **self._build)
        assert isinstance(module, LoRA)
        self.module, self._kept = module, {}

    @torch.no_grad()
    def on_task_end(self, learner: Learner, task: Task) -> None:
        """With ``ortho`` and ``mag_max``, put what is evaluated into the weights, and begin the next LoRA."""
        if self.regime == "mag_max":
            self.module.add_to(learner.backbone.model, self._larger())
            self._begin(learner)
        elif self.regime == "ortho":
            added = self._summed() if self.combine == "factors" else self.module.matrices()
            last = {name: self._kept.get(f"{name}.down", part.down.clone()) for name, part in self._parts.items()}
            self.module.add_to(learner.backbone.model, added)
            self._begin(learner)
            for name, part in self._parts.items():
                rows, earlier = part.down, last[name].to(part.down.device)
                rows.copy_(orthogonal_columns(earlier) if self.start == "columns" else without_rows(rows, earlier))

    def on_task_exit(self, learner: Learner, task: Task) -> None:
        """With ``merge``, add the LoRA to the weights and begin another one."""
        if self.regime == "merge":
            self.module.merge(learner.backbone.model)
            self._begin(learner)

    @property
    def _parts(self) -> dict[str, LowRank]:
        return {name: part for name, part in self.module.parts.items() if isinstance(part, LowRank)}

    def _begin(self, learner: Learner) -> None:
        self.module.reset(learner.generator("pet"))
        learner.optimizer_policy.forget("plugin_modules.")  # also where it is carried on: the LoRA begins anew

    def _before(self, name: str, now: Tensor) -> Tensor:
        """What is kept under a name; zeros in the first task."""
        return self._kept[name].to(now.device) if name in self._kept else torch.zeros_like(now)

    def _larger(self) -> dict[str, Tensor]:
        """Keep, entry by entry, the larger of what was kept and what the task adds; returns what changes by it."""
        changes = {}
        for name, now in self.module.matrices().items():
            before = self._before(name, now)
            self._kept[name] = larger(before, now)
            changes[name] = self._kept[name] - before
        return changes

    def _summed(self) -> dict[str, Tensor]:
        """Add the task's factors to those kept; returns by what the product of the sums changes."""
        changes = {}
        for name, part in self._parts.items():
            down, up = (self._before(f"{name}.{side}", value) for side, value in part.named_parameters())
            self._kept |= {f"{name}.down": down + part.down, f"{name}.up": up + part.up}
            changes[name] = part.factor * ((up + part.up) @ (down + part.down) - up @ down)
        return changes


def larger(before: Tensor, now: Tensor) -> Tensor:
    """Of two tensors the entries of larger magnitude; the second one's where both are alike (MagMax)."""
    return torch.where(now.abs() >= before.abs(), now, before)


def orthogonal_columns(matrix: Tensor) -> Tensor:
    """For each column of ``[rank, inputs]`` a unit vector orthogonal to it: its last right singular vector."""
    turned: Tensor = torch.linalg.svd(matrix.double().cpu().T[:, None], full_matrices=True).Vh[:, -1]
    return turned.T.to(matrix)


def without_rows(matrix: Tensor, earlier: Tensor) -> Tensor:
    """The rows ``[rank, inputs]`` of a matrix without what lies in the space of another one's rows."""
    basis: Tensor = torch.linalg.qr(earlier.double().T).Q
    return (matrix.double() - matrix.double() @ basis @ basis.T).to(matrix)
