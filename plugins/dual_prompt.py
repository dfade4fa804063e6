"""A general prompt for all tasks and an expert prompt for each (DualPrompt)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsuite.peft import GivenPrefix, PrefixValues, RoutedByQuery, choose_blocks, first_values, transformer_blocks
from clsuite.plugin import Batch, Learner, Plugin, Scenario, Step, Task, Traits, UserError, check_range


class DualPrompt(Plugin):
    """Early blocks share one prefix over all tasks; in later blocks each task has a prefix and a key of its own.

    Wang et al., "DualPrompt: complementary prompting for rehearsal-free continual learning" (ECCV 2022):

    * Prompts are prefixes: half of each is prepended to the keys of the attention, half to its values (section 4.2,
      equation 5).
    * In training, the images of a task use the task's own expert prompt, and its key is pulled towards their queries by
      ``- matching * cosine`` (section 4.1, equation 3; algorithm 1). Replayed exemplars of another plugin use the
      prompt whose key is nearest.
    * At test time each image uses the expert prompt whose key is most similar to its query, the feature of the frozen
      network (algorithm 2).

    As in the authors' code, the cross-entropy is over the classes of the current task only, and the head is initialized
    with zeros. The authors' code compares a test image with the keys of future tasks too; here it is compared with the
    keys of the tasks seen so far.

    Args:
        general_length: Number of keys, and of values, of the general prompt (paper: 5).
        expert_length: Number of keys, and of values, of an expert prompt (code: 5 on CIFAR-100, 20 on ImageNet-R).
        general_blocks: The blocks that get the general prompt, such as ``0,1`` or ``0-1`` (paper: the first two).
        expert_blocks: The blocks that get an expert prompt (paper: the third to the fifth).
        matching: Weight of the loss that pulls the key towards the queries (code: 1).
        expert_start: First values of a new expert prompt. ``copy``: those of the last task's, as in the authors' code
            and its ports (``shared_prompt_pool``), whose keys are new each time. ``new``: drawn at random.
        prompt_init: First values of the prompts: ``small``, U(0, 0.01), as in the authors' code (models/prompt.py), or
            ``unit``, U(-1, 1), as in its ports to PyTorch.
        key_init: First values of the keys: ``small`` or ``unit``, as for the prompts.
        query: ``plain``: the query of a training image is computed once, without augmentation, which is our saving.
            ``augmented``: it is computed from the augmented image at each step, as in the authors' code.
    """

    traits = Traits(
        freezes_backbone=True,
        requires=("vit",),
        memory=("modules",),
        pet=("prefix",),
        training={"loss": "local", "head_init": 0.0},
        paper="Wang, ECCV 2022 (DualPrompt)",
    )

    def __init__(
        self,
        general_length: int = 5,
        expert_length: int = 5,
        general_blocks: str = "0-1",
        expert_blocks: str = "2-4",
        matching: float = 1.0,
        expert_start: Literal["copy", "new"] = "copy",
        prompt_init: Literal["small", "unit"] = "small",
        key_init: Literal["small", "unit"] = "small",
        query: Literal["plain", "augmented"] = "plain",
    ) -> None:
        super().__init__()
        check_range("dual_prompt", at_least=1, general_length=general_length, expert_length=expert_length)
        check_range("dual_prompt", at_least=0, matching=matching)
        self.general_length, self.expert_length = general_length, expert_length
        self.general_blocks, self.expert_blocks, self.matching = general_blocks, expert_blocks, matching
        self.expert_start, self.prompt_init, self.key_init, self.query = expert_start, prompt_init, key_init, query

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone and create the general prompt.

        Raises:
            UserError: If a block would get both kinds of prompts, or does not exist.
        """
        learner.backbone.requires_grad_(False)
        found = transformer_blocks(learner.backbone.model)
        self._general_at = choose_blocks(found, self.general_blocks)
        self._expert_at = choose_blocks(found, self.expert_blocks)
        both = sorted({*self._general_at} & {*self._expert_at})
        if both:
            raise UserError(f"dual_prompt: block {both[0]} is in general_blocks and in expert_blocks; choose one")
        self._width = found[0].attn.qkv.out_features // 3
        self.experts: list[PrefixValues] = []
        self.prefix = GivenPrefix([*self._general_at, *self._expert_at])
        prompt = self._prompt(len(self._general_at), self.general_length, learner.generator("dual_prompt"))
        self.general = PrefixValues(self._general_at, {"prompt": prompt})
        learner.register_plugin_module(self, "general", self.general)
        learner.register_plugin_module(self, "prefix", self.prefix)
        self.prefix.attach(learner.backbone.model)
        self._routed = RoutedByQuery(learner, [self.prefix], self._route, self.query)

    def _prompt(self, blocks: int, length: int, generator: torch.Generator) -> nn.Parameter:
        """Keys and values of all blocks, ``[blocks, 2, length, width]``."""
        return nn.Parameter(first_values(self.prompt_init, (blocks, 2, length, self._width), generator))

    def rebuild_modules(self, learner: Learner, tasks: int) -> None:
        """Create the expert prompts of the first tasks again."""
        for index in range(tasks):
            self._add(learner, index)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Create the task's expert prompt and key, and freeze the others."""
        self._add(learner, task.index)
        self._routed.prepare(task)

    def _add(self, learner: Learner, index: int) -> None:
        generator = learner.generator("dual_prompt", index)
        for expert in self.experts:
            expert.requires_grad_(False)
        prompt = self._prompt(len(self._expert_at), self.expert_length, generator)
        if self.experts and self.expert_start == "copy":
            prompt = nn.Parameter(self.experts[-1]["prompt"].detach().clone())
        key = nn.Parameter(first_values(self.key_init, (learner.backbone.width,), generator))
        expert = PrefixValues(self._expert_at, {"prompt": prompt, "key": key})
        learner.register_plugin_module(self, f"expert{index}", expert)
        self.experts.append(expert)

    def on_before_forward(self, learner: Learner, batch: Batch) -> None:
        """Note which images have a precomputed query."""
        self._routed.expect(batch)

    def _cosines(self, query: Tensor) -> Tensor:
        """Cosine ``[B, tasks]`` of each query with each task's key."""
        keys = torch.stack([expert["key"] for expert in self.experts])
        return (F.normalize(query, dim=1)[:, None] * F.normalize(keys, dim=1)).sum(dim=2)

    def _route(self, query: Tensor, replayed: Tensor | None) -> None:
        """Set the prompt of every block: in training that of the current task, else that of the nearest key."""
        owners = self._cosines(query).argmax(dim=1)
        if replayed is not None:
            owners = owners.where(replayed, len(self.experts) - 1)
        general = self.general["prompt"]
        experts = torch.stack([expert["prompt"] for expert in self.experts])[owners]
        self.prefix.given = {
            **{number: (general[i, 0], general[i, 1]) for i, number in enumerate(self._general_at)},
            **{number: (experts[:, i, 0], experts[:, i, 1]) for i, number in enumerate(self._expert_at)},
        }

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """Loss that pulls the task's key towards the queries of its images (equation 3)."""
        own = ~step.batch.replayed
        cosines = self._cosines(self._routed.of_step(step.batch))[own, -1]
        return -self.matching * cosines.sum() / own.sum().clamp(min=1)
