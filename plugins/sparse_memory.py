"""Sparse memory fine-tuning: of a memory layer only the slots that are new to a batch are trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor

from clsuite.peft import ProductMemory, choose_blocks, transformer_blocks
from clsuite.plugin import Learner, Plugin, Scenario, Task, Traits, UserError, check_range


class SparseMemory(Plugin):
    """Freezes the backbone, trains a memory layer on the first task, and then in each step a few of its slots.

    Lin et al., "Continual learning via sparse memory finetuning" (2025). The layer is that of Berges et al., "Memory
    layers at scale" (2024): product keys choose a few of ``keys * keys`` values for each token and head, and a gate
    multiplies their weighted sum. The paper fine-tunes language models that were pre-trained with such a layer, and
    counts how often their pre-training reads each slot. What stands for that here:

    * The layer is added beside the MLP of a frozen vision transformer, begins with adding nothing, and is trained whole
      on the first task, with the head. From the second task on only its values and the head are trained.
    * Each step keeps the ``slots`` values with the largest score among those that the batch reads, the tf-idf of
      information retrieval: the share that a slot has of the batch's reads, times ``log((B + 1) / (df + 1))``, where df
      is in how many of B background batches it was read. The background are the training batches of all earlier tasks.
    * Other values stay bit-identical under any optimizer: their gradients are removed, and so is what momentum,
      Adam's state and weight decay would do to them (the authors: SGD without momentum).

    Sizes are guesses for a ViT, whose batches read thousands of tokens and whose layer is small. The authors' language
    models: one of 22 blocks, a million slots, 4 heads, 32 reads, queries of 512, 500 to 10,000 slots for each batch,
    rate 2. First values are PyTorch's for linear layers, uniform for keys and normal for values (a guess, too).

    The rate of the first task decides the rest: a layer that is trained whole on few classes with a large one lets the
    features of all images fall onto the axis of these classes, and later tasks train no more than values. On five tasks
    of digits (36 images a class, 5 epochs of AdamW, the head's rate 0.003), where the head alone ends with 84.1 %, it
    ends with 69.7 at LoRA's rate of 0.003 (75.4 with all slots trained), 84.9 at 0.001, and 84.1 at 0.0003.

    Args:
        slots: Number of values that a step trains, from the second task on; with all slots every value is.
        score: How they are chosen: ``tf_idf``, or by reads of the batch alone (``tf``).
        keys: Number of half keys; the layer has as many slots as its square.
        heads: Number of queries of each token.
        reads: Number of slots that a head reads.
        key_size: Length of a query.
        blocks: The transformer blocks that get a layer, such as ``6``; null takes the middle one.
    """

    traits = Traits(
        freezes_backbone=True,
        requires=("vit",),
        memory=("modules", "statistics"),
        pet=("memory",),
        training={"loss": "local"},
        paper="Lin, 2025 (sparse memory)",
    )
    state = ("_known", "_known_batches", "_new", "_new_batches")

    def __init__(
        self,
        slots: int = 100,
        score: Literal["tf_idf", "tf"] = "tf_idf",
        keys: int = 64,
        heads: int = 4,
        reads: int = 8,
        key_size: int = 64,
        blocks: str | None = None,
    ) -> None:
        super().__init__()
        check_range("sparse_memory", at_least=1, slots=slots, keys=keys, heads=heads, reads=reads)
        check_range("sparse_memory", at_least=2, key_size=key_size)
        if key_size % 2:
            raise UserError(f"sparse_memory: key_size is {key_size}, but must be even: each table has half a key")
        if reads > keys:
            raise UserError(f"sparse_memory: reads is {reads}, but each table has {keys} keys: at most as many")
        if slots > keys**2:
            raise UserError(f"sparse_memory: slots is {slots}, but the layer has {keys**2}: at most as many")
        self.slots, self.score, self.blocks = slots, score, blocks
        self._build = {"keys": keys, "heads": heads, "reads": reads, "key_size": key_size}
        self._kept: dict[str, Tensor] = {}

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone and attach the layer."""
        model = learner.backbone.requires_grad_(False).model
        found = transformer_blocks(model)
        numbers = choose_blocks(found, str(len(found) // 2) if self.blocks is None else self.blocks)
        self.memory = ProductMemory(model, numbers, generator=learner.generator("sparse_memory"), **self._build)
        learner.register_plugin_module(self, "memory", self.memory)
        self.memory.attach(model)
        self._known: dict[str, Tensor] = {}
        self._known_batches = 0
        self._begin_counts()

    def _begin_counts(self) -> None:
        self._new: dict[str, Tensor] = {}
        self._new_batches = 0

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """From the second task on, leave the values alone to be trained."""
        for memory in self.memory.memories.values() if task.index else ():
            memory.requires_grad_(False)
            memory.values.requires_grad_(True)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Count the reads of the next step from zero."""
        for memory in self.memory.memories.values():
            memory.forget_accesses()

    @torch.no_grad()
    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Choose the values of the step, and remove the gradients of the others."""
        assert isinstance(pl_module, Learner)
        assert pl_module.task is not None
        self._kept = {}
        for name, memory in self.memory.memories.items():
            if pl_module.task.index and self.slots < len(memory.values):
                kept = self._chosen(name, memory.accesses)
                self._kept[f"parts.{name}.values"] = kept
                if memory.values.grad is not None:
                    memory.values.grad.mul_(kept[:, None])
            read = (memory.accesses > 0).int().cpu()
            self._new[name] = self._new[name] + read if name in self._new else read
        self._new_batches += 1

    def _chosen(self, name: str, accesses: Tensor) -> Tensor:
        """Which slots ``[slots]`` a step trains."""
        known = self._known.get(name, torch.zeros_like(accesses, dtype=torch.int32)).to(accesses.device)
        scores = accesses.double() if self.score == "tf" else tf_idf(accesses, known, self._known_batches)
        read = accesses > 0
        chosen = scores.masked_fill(~read, -1.0).argsort(descending=True, stable=True)[: self.slots]
        return torch.zeros_like(read).index_fill(0, chosen, value=True) & read

    def transform_update(self, learner: Learner, updates: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Remove what the optimizer does to the other values."""
        own = {f"plugin_modules.{type(self).__name__}_memory.{name}": mask for name, mask in self._kept.items()}
        return {name: updates[name] * mask[:, None] for name, mask in own.items() if name in updates}

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Add the task's batches to the background."""
        self._known = {**self._known, **{name: read + self._known.get(name, 0) for name, read in self._new.items()}}
        self._known_batches += self._new_batches
        self._begin_counts()


def tf_idf(accesses: Tensor, known: Tensor, batches: int) -> Tensor:
    """Scores ``[slots]`` of slots: large where a batch reads them and the background does not.

    Args:
        accesses: Reads of each slot by the batch.
        known: In how many background batches each slot was read.
        batches: Number of background batches; without any, the share of the reads is the score.
    """
    share = accesses.double() / accesses.sum().clamp_min(1)
    if not batches:
        return share
    return share * (math.log(batches + 1) - (known.double() + 1).log())
