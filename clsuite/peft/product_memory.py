"""Memory layers: many values, of which product keys choose a few for each token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsuite.peft.base import PET
from clsuite.peft.blocks import transformer_blocks


class MemoryPart(nn.Module):
    """The memory of one block: ``n * n`` values with product keys, a gate, and an output that begins with zero.

    Attributes:
        values: ``[n * n, width]``; slot ``i * n + j`` has the i-th key of the first table and the j-th of the second.
        accesses: How often each slot was read since `forget_accesses`, in training passes.
    """

    def __init__(
        self, width: int, keys: int, heads: int, reads: int, key_size: int, generator: torch.Generator
    ) -> None:
        """Draw the first values."""
        super().__init__()
        self.heads, self.reads, self.half_size = heads, reads, key_size // 2
        self.query = _drawn(width, heads * key_size, generator)
        bound = 1 / math.sqrt(self.half_size)
        tables = torch.empty(2, heads, keys, self.half_size)
        self.keys = nn.Parameter(tables.uniform_(-bound, bound, generator=generator))
        self.values = nn.Parameter(torch.empty(keys**2, width).normal_(0, width**-0.5, generator=generator))
        self.gate = _drawn(width, width, generator)
        self.output = nn.Linear(width, width, bias=False, device="meta").to_empty(device="cpu")
        nn.init.zeros_(self.output.weight)
        self.accesses = torch.zeros(keys**2, dtype=torch.int64)

    def choose(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Slots ``[T, heads, reads]`` of tokens ``[T, width]``, and their weights, which sum to 1 in each head.

        The best of all pairs of keys are among the pairs of the best keys of each table.
        """
        queries = self.query(tokens).view(len(tokens), self.heads, 2, self.half_size)
        scores = torch.einsum("thpk,phnk->pthn", queries, self.keys)
        best, places = scores.topk(self.reads, dim=-1)
        sums = (best[0][..., :, None] + best[1][..., None, :]).flatten(-2)
        slots = (places[0][..., :, None] * self.keys.shape[2] + places[1][..., None, :]).flatten(-2)
        chosen, where = sums.topk(self.reads, dim=-1)
        return slots.gather(-1, where), chosen.float().softmax(dim=-1)

    def forward(self, inputs: Tensor) -> Tensor:
        """What the memory adds to tokens ``[..., width]``."""
        tokens = inputs.flatten(0, -2)
        slots, weights = self.choose(tokens)
        if self.training and torch.is_grad_enabled():
            read = slots.flatten().bincount(minlength=len(self.values))
            self.accesses = self.accesses.to(read.device) + read
        bags, shares = slots.flatten(1), weights.flatten(1).to(self.values.dtype)
        found = F.embedding_bag(bags, self.values, per_sample_weights=shares, mode="sum")
        added: Tensor = self.output(found.to(tokens.dtype) * F.silu(self.gate(tokens)))
        return added.view_as(inputs)

    def forget_accesses(self) -> None:
        """Count from zero again."""
        self.accesses = torch.zeros_like(self.accesses)


def _drawn(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer without bias, with PyTorch's first values drawn from a generator and from nothing else."""
    layer, bound = nn.Linear(inputs, outputs, bias=False, device="meta").to_empty(device="cpu"), 1 / math.sqrt(inputs)
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    return layer


class ProductMemory(PET):
    """A memory beside the MLP of some blocks, which adds nothing at first.

    Lample et al., "Large memory layers with product keys" (NeurIPS 2019), and Berges et al., "Memory layers at scale"
    (2024), whose gate it has: ``W_out (silu(W_gate x) * sum_i w_i v_i)``, where the slots i of each head are those
    whose keys have the largest products with its query, and w is the softmax of these. All heads share the values.

    Attributes:
        parts: `MemoryPart` by number of the block.
    """

    role = "memory"

    def __init__(
        self,
        model: nn.Module,
        blocks: Sequence[int],
        *,
        keys: int,
        heads: int,
        reads: int,
        key_size: int,
        generator: torch.Generator,
    ) -> None:
        """Create the memories for a network.

        Args:
            model: The network; it is not modified.
            blocks: Numbers of the blocks.
            keys: Number of half keys of each table; a memory has as many slots as its square.
            heads: Number of queries of a token.
            reads: Number of slots that a head reads.
            key_size: Length of a query, even: half of it is compared with the keys of each table.
            generator: Source of the first values.
        """
        super().__init__()
        self._blocks = tuple(blocks)
        width = transformer_blocks(model)[0].attn.qkv.in_features
        build = (width, keys, heads, reads, key_size, generator)
        self.parts = nn.ModuleDict({str(number): MemoryPart(*build) for number in self._blocks})

    @property
    def memories(self) -> dict[str, MemoryPart]:
        """The parts by number of the block."""
        return {name: part for name, part in self.parts.items() if isinstance(part, MemoryPart)}

    def attach(self, model: nn.Module) -> None:
        """Attach to the MLPs, whose inputs the memories read."""
        found = transformer_blocks(model)
        for number in self._blocks:
            hook = self._hook(self.parts[str(number)])
            self._handles.append(found[number].mlp.register_forward_hook(hook))

    def _hook(self, part: nn.Module) -> Any:
        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if not self.enabled:
                return None
            part.train(module.training)  # reads are counted in training, and feature extraction changes the mode
            added: Tensor = part(inputs[0])
            return output + added

        return add
