"""Prompts composed of weighted components for each image (CODA-Prompt)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsuite.peft import GivenPrefix, RoutedByQuery, choose_blocks, transformer_blocks
from clsuite.plugin import Batch, Learner, Plugin, Scenario, Step, Task, Traits, UserError, check_range
from clsuite.plugin.helpers import full_precision


class CodaPrompt(Plugin):
    """Each image is given a weighted sum of prompt components, which grow in number with the tasks.

    Smith et al., "CODA-Prompt: continual decomposed attention-based prompting for rehearsal-free continual learning"
    (CVPR 2023):

    * In each chosen block the prompt is ``sum over m of a_m P_m``. The weight ``a_m = cos(q * A_m, K_m)`` is the cosine
      between the attended query and a key, without softmax (section 4.1, equations 3 to 6). The query q is the feature
      of the frozen network. Half of the prompt is prepended to the keys of the attention, half to its values.
    * Each task adds its share of the components and trains only those; the components of all tasks so far take part
      (section 4.2).
    * New components, keys and attention vectors are initialized orthonormal to each other and orthogonal to the old
      ones (Gram-Schmidt, as in the authors' code). A loss keeps them orthonormal (section 4.3, equation 7): the mean
      square of ``X X^T - I`` for P, K and A of each block.

    As in the authors' code, the cross-entropy is over the classes of the current task only, and the head is initialized
    as PyTorch initializes linear layers. The authors' cosine schedule is stepped at each epoch and ends just above
    zero; here it is stepped at each optimizer step.

    Args:
        components: Number of components in each block, over the whole stream (paper: 100). Each task adds an equal
            share; tasks are counted before the stream is cut (``--limit-tasks``, ``clsuite tune --tasks``).
        length: Length of a component, keys and values together (paper: 8).
        blocks: The transformer blocks that get prompts (paper: the first five).
        orthogonality: Weight of the orthogonality loss; 0 relies on the initialization. (Paper: 0.1. The authors'
            released scripts, and PILOT's, pass 0, because the initial values are orthogonal.)
        query: ``plain``: the query of a training image is computed once, without augmentation, which is our saving.
            ``augmented``: it is computed from the augmented image at each step, as in the authors' code.
    """

    traits = Traits(
        freezes_backbone=True,
        requires=("vit",),
        memory=("modules",),
        pet=("prefix",),
        training={"loss": "local", "head_init": "uniform"},
        paper="Smith, CVPR 2023 (CODA-Prompt)",
        effects=("adds modules",),
    )

    def __init__(
        self,
        components: int = 100,
        length: int = 8,
        blocks: str = "0-4",
        orthogonality: float = 0.1,
        query: Literal["plain", "augmented"] = "plain",
    ) -> None:
        super().__init__()
        if length < 2 or length % 2:
            raise UserError(f"coda_prompt: length is {length}, but must be even: half are keys, half are values")
        check_range("coda_prompt", at_least=0, orthogonality=orthogonality)
        self.components, self.length, self.blocks, self.orthogonality = components, length, blocks, orthogonality
        self.query = query

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone.

        Raises:
            UserError: If there are fewer components than tasks, or more than can be orthogonal.
        """
        learner.backbone.requires_grad_(False)
        found = transformer_blocks(learner.backbone.model)
        self._at = choose_blocks(found, self.blocks)
        self._width = found[0].attn.qkv.out_features // 3
        tasks = scenario.planned_tasks
        self._share = self.components // tasks
        if self._share < 1:
            raise UserError(f"coda_prompt: components is {self.components}, but each of {tasks} tasks needs one")
        if self.components > learner.backbone.width:
            raise UserError(
                f"coda_prompt: components is {self.components}, but in features of width "
                f"{learner.backbone.width} no more than that can be orthogonal"
            )
        self.parts: list[nn.ParameterDict] = []
        self.prefix = GivenPrefix(self._at)
        self.prefix.attach(learner.backbone.model)
        self._routed = RoutedByQuery(learner, [self.prefix], self._route, self.query)

    def rebuild_modules(self, learner: Learner, tasks: int) -> None:
        """Create the components of the first tasks again."""
        for index in range(tasks):
            self._add(learner, index)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Create the task's components and freeze the old ones."""
        self._add(learner, task.index)
        self._routed.prepare(task)

    def _add(self, learner: Learner, index: int) -> None:
        generator = learner.generator("coda_prompt", index)
        for part in self.parts:
            part.requires_grad_(False)
        widths = {"prompt": self.length * self._width, "key": learner.backbone.width, "mask": learner.backbone.width}
        new = {}
        for name, width in widths.items():
            old = [part[name].detach().cpu() for part in self.parts]
            new[name] = nn.Parameter(self._orthonormal(old, width, generator))
        part = nn.ParameterDict(new)
        learner.register_plugin_module(self, f"part{index}", part)
        self.parts.append(part)

    def _orthonormal(self, old: list[Tensor], width: int, generator: torch.Generator) -> Tensor:
        """New rows ``[blocks, share, width]``, orthonormal in each block and orthogonal to all old rows there."""
        drawn = torch.randn(len(self._at), self._share, width, generator=generator, dtype=torch.float64)
        basis = torch.linalg.qr(torch.cat([*old, drawn], dim=1).mT).Q  # Gram-Schmidt, in this order
        rows: Tensor = basis[..., -self._share :].mT.float().contiguous()
        return rows

    def _all(self, name: str) -> Tensor:
        """The components, keys or attention vectors of all tasks so far, ``[blocks, components, width]``."""
        return torch.cat([part[name] for part in self.parts], dim=1)

    def on_before_forward(self, learner: Learner, batch: Batch) -> None:
        """Note which images have a precomputed query."""
        self._routed.expect(batch)

    def _weights(self, query: Tensor) -> Tensor:
        """Weights ``[blocks, B, components]``: the cosine of ``q * A`` with K, without softmax (equation 6)."""
        masks, keys = self._all("mask"), F.normalize(self._all("key"), dim=2)
        product = query @ (masks * keys).mT
        length = (query.square() @ masks.square().mT).sqrt()
        return product / length.clamp(min=1e-12)

    def _route(self, query: Tensor, replayed: Tensor | None) -> None:
        """Compose the prompt of each image in each block (equation 3)."""
        prompts = self._weights(query) @ self._all("prompt")
        keys, values = prompts.view(*prompts.shape[:2], 2, -1, self._width).unbind(dim=2)
        self.prefix.given = {number: (keys[i], values[i]) for i, number in enumerate(self._at)}

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """Loss that keeps components, keys and attention vectors orthonormal (equation 7)."""
        with full_precision(step.logits):
            losses = [self._distance(self._all(name)) for name in ("prompt", "key", "mask")]
        return self.orthogonality * torch.stack(losses).sum()

    @staticmethod
    def _distance(rows: Tensor) -> Tensor:
        """Mean square of ``X X^T - I``, summed over the blocks of ``[blocks, components, width]``."""
        gram = rows @ rows.mT - torch.eye(rows.shape[1], device=rows.device)
        return gram.square().mean(dim=(1, 2)).sum()
