"""AdaptFormer: a bottleneck beside the MLP that reads the residual stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clsuite.peft.adapter import Bottleneck
from clsuite.peft.base import PET
from clsuite.peft.blocks import transformer_blocks

SCALE, DROPOUT = 0.1, 0.1


class AdaptFormer(PET):
    """A bottleneck in each chosen block that adds to the block's output what it makes of the MLP's un-normed input.

    Chen et al., "AdaptFormer: adapting vision transformers for scalable visual recognition" (NeurIPS 2022), section
    3.2: ``x + MLP(norm(x)) + 0.1 * up(ReLU(down(x)))``, with the authors' dropout of 0.1 on the hidden units and their
    first values. APER, RanPAC and EASE use it with 64 hidden units. `Adapter` is beside the attention, reads what the
    norm gives, and has GELU and a learned scale.
    """

    role = "adapters"

    def __init__(
        self, model: nn.Module, blocks: Sequence[int], bottleneck: int, generator: torch.Generator, entries: int = 1
    ) -> None:
        """Make the bottlenecks for a network.

        Args:
            model: The network; it is not changed.
            blocks: Numbers of the blocks.
            bottleneck: Hidden units.
            generator: Source of the first values.
            entries: Bottlenecks to route samples to.
        """
        super().__init__()
        self._blocks = tuple(blocks)
        found = transformer_blocks(model)
        self.parts = nn.ModuleDict()
        for number in self._blocks:
            self.parts[str(number)] = Bottleneck(
                found[number].attn.qkv.in_features,
                bottleneck,
                generator,
                entries,
                activation=nn.functional.relu,
                scale=SCALE,
                dropout=DROPOUT,
            )

    def attach(self, model: nn.Module) -> None:
        """Attach to the blocks; the first of a block's second norm and its MLP to be called is given the stream."""
        found = transformer_blocks(model)
        for number in self._blocks:
            block, seen = found[number], list[Tensor]()
            self._handles.append(block.register_forward_pre_hook(self._forget(seen)))
            norms = [norm] if (norm := getattr(block, "norm2", None)) is not None else []
            for part in (*norms, block.mlp):
                self._handles.append(part.register_forward_pre_hook(self._look(seen)))
            self._handles.append(block.register_forward_hook(self._add(self.parts[str(number)], seen)))

    def _forget(self, seen: list[Tensor]) -> Any:
        def forget(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if self.enabled:
                seen.clear()  # of a pass that was broken off

        return forget

    def _look(self, seen: list[Tensor]) -> Any:
        def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if self.enabled and not seen:
                seen.append(inputs[0])

        return look

    def _add(self, part: nn.Module, seen: list[Tensor]) -> Any:
        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if not self.enabled:
                return None
            part.train(module.training)  # dropout follows the network's mode, which computing features changes
            added: Tensor = part(seen.pop(), self.route)
            return output + added

        return add
