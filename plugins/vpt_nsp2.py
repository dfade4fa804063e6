"""VPT-NSP2: deep prompts that move in the null space of what earlier tasks' images see of them."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.peft import Prompt, attach_module, choose_blocks, prompt_moments, transformer_blocks
from clsuite.plugin import Learner, Plugin, Scenario, Step, Task, Traits, check_range, classification_loss
from clsuite.plugin.helpers import compute_features, null_space


class VPTNSP2(Plugin):
    """Prompts of all tasks in every block, whose updates are projected so that earlier images hardly see them change.

    Lu et al., "Visual prompt tuning in null space for continual learning" (NeurIPS 2024), and the authors' code.
    Prompts P ``[length, width]`` enter each block, and leave it; they, and the head of each task, are trained.
    An image token with the query q sees P in two products: its scores ``q W_k P'``, and the sum of the values, in which
    prompts count by their attention weights s. From the second task on the update of the optimizer is ``B2 dP B1``:

    * At the end of a task, second moments of ``q W_k`` and of s over all images, heads and image tokens are added to
      those of earlier tasks. B1 and B2 project onto their null spaces: singular vectors behind the place where the
      second difference of the spectrum is largest (smoothed where it is long), or by ``threshold``.
    * The code blends ``eta * B / |B| + (1 - eta) * I`` with the Frobenius norm of B, the root of its rank. With 600 of
      768 directions and eta 0.97 a free one is multiplied with 0.07 and a forbidden one with 0.03, so that it is a
      small learning rate rather than a projection, and published numbers come from it (``normalize``). Without it, and
      with eta 1, the products of earlier tasks stay as they are but for the block's LayerNorm.
    * LayerNorm couples the channels, so that mean and standard deviation of each prompt are held where the last task
      left them, by an L1 loss (``norm_loss``).

    Differences from the code: moments are means over all tokens, where the code adds means of batches. All classes'
    logits are compared. The traits set what the authors train with: the cross-entropy over the current task's classes,
    and Adam with weight decay 5e-5. Rate, epochs, schedule and augmentation are the benchmark's (authors: 0.01, divided
    by ten after 5 and 8 of 10 epochs of ten passes each, batch 256, AutoAugment).

    Args:
        length: Number of prompts in each block (authors: 4).
        eta: How far an update is projected (authors: 0.97; 0.95 with 20 tasks and on DomainNet, 0.94 on ImageNet-R); 0
            trains plain prompts.
        normalize: Whether projections are divided by their norms first, as in the code.
        threshold: Null spaces have the directions whose singular values are at most this share of the largest one; null
            takes the code's rule.
        smooth: For the code's rule: standard deviation, in directions, of the Gaussian that smooths a long spectrum.
        norm_loss: Weight of the loss on means and standard deviations of prompts (authors: 1).
        temperature: What logits are divided by in training (authors: 28; 25 with 20 tasks, 30 on ImageNet-R).
        blocks: The transformer blocks that get prompts: ``all`` (the paper's), ``0-3``.
    """

    traits = Traits(
        freezes_backbone=True,
        requires=("vit",),
        memory=("modules", "statistics"),
        pet=("prompt",),
        second_pass="it passes a task's images once more for what they see of the prompts",
        training={"loss": "local", "optimizer": {"name": "adam", "weight_decay": 5e-5}},
        paper="Lu, NeurIPS 2024 (VPT-NSP2)",
    )
    state = ("_affinity", "_shares", "_number", "_before")

    def __init__(
        self,
        length: int = 4,
        eta: float = 0.97,
        normalize: bool = True,
        threshold: float | None = None,
        smooth: float = 10.0,
        norm_loss: float = 1.0,
        temperature: float = 28.0,
        blocks: str = "all",
    ) -> None:
        super().__init__()
        check_range("vpt_nsp2", at_least=1, length=length)
        check_range("vpt_nsp2", at_least=0, at_most=1, eta=eta)
        check_range("vpt_nsp2", at_least=0, below=1, threshold=threshold)
        check_range("vpt_nsp2", at_least=0, norm_loss=norm_loss, smooth=smooth)
        check_range("vpt_nsp2", above=0, temperature=temperature)
        self.length, self.eta, self.normalize, self.threshold, self.smooth = length, eta, normalize, threshold, smooth
        self.norm_loss, self.temperature, self.blocks = norm_loss, temperature, blocks

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone and attach the prompts."""
        model = learner.backbone.model
        self._numbers = choose_blocks(transformer_blocks(model), self.blocks)
        draws = learner.generator("vpt_nsp2")
        self.prompts = Prompt(model, self._numbers, self.length, draws, init="unit", stays=False)
        attach_module(learner, self, "prompts", self.prompts)
        self._affinity = self._shares = self._before = torch.zeros(0)
        self._number = 0

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Train those parts of the head alone that have classes of the task, and compute the projections."""
        ends = list(accumulate(learner.head.sizes))
        learner.head.freeze()
        learner.head.thaw(sorted({bisect(ends, label) for label in task.classes}))
        self._projections: list[tuple[Tensor, Tensor]] = []
        if self._number and self.eta:
            self._projections = [
                (self._projection(shares), self._projection(affinity))
                for shares, affinity in zip(self._shares, self._affinity, strict=True)
            ]

    def _projection(self, moment: Tensor) -> Tensor:
        """What an update is multiplied with, ``[d, d]``, to spare the main directions of a second moment."""
        free = null_space(moment, self.threshold, self.smooth).double()
        matrix = free @ free.T
        if self.normalize:
            matrix = matrix / matrix.norm().clamp_min(1e-12)
        return (self.eta * matrix + (1 - self.eta) * torch.eye(len(matrix), dtype=torch.float64)).float()

    def classification(self, learner: Learner, step: Step) -> Tensor | None:
        """Cross-entropy of logits that are divided by the temperature."""
        options, columns, task = learner.options, step.batch.columns, learner.task
        assert task is not None
        return classification_loss(
            step.logits / self.temperature, step.batch.labels, options.loss, task.classes, columns.get("weights"),
            columns.get("targets"), options.label_smoothing,
        )  # fmt: skip

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """Distance of the prompts' means and standard deviations from those that the last task left."""
        if not len(self._before) or not self.norm_loss:
            return None
        now, before = self.prompts.tokens, self._before.to(self.prompts.tokens.device)
        apart = F.l1_loss(now.mean(-1), before.mean(-1)) + F.l1_loss(now.std(-1, False), before.std(-1, False))
        return self.norm_loss * len(now) * apart  # the code adds the blocks' distances

    def transform_update(self, learner: Learner, updates: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Project the update of each block's prompts."""
        name = f"plugin_modules.{type(self).__name__}_prompts.tokens"
        if name not in updates or not self._projections:
            return {}
        pairs = [[matrix.to(updates[name]) for matrix in pair] for pair in self._projections]
        return {
            name: torch.stack([left @ one @ right for (left, right), one in zip(pairs, updates[name], strict=True)])
        }

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Add what the task's images see of the prompts to the second moments."""
        self._before = self.prompts.tokens.detach().clone()
        with learner.autocast(), prompt_moments(learner.backbone.model, self._numbers, self.length) as sums:
            compute_features(learner.backbone, learner.scenario.table.images, task.train)
        new = [torch.stack([one.affinity for one in sums]), torch.stack([one.shares for one in sums])]
        old, number = self._number, self._number + sums[0].number
        kept: list[Tensor | float] = [0.0, 0.0]
        if old:
            kept = [self._affinity.double() * old, self._shares.double() * old]
        self._affinity, self._shares = (
            ((before + now) / number).float() for before, now in zip(kept, new, strict=True)
        )
        self._number = number
