"""AdaptFormer: a bottleneck network parallel to the MLP, on the residual stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clsuite.peft.adapter import Bottleneck
from clsuite.peft.base import PET
from clsuite.peft.blocks import transformer_blocks


class AdaptFormer(PET):
    """A bottleneck network in each selected block, from the input of the MLP's norm to the block's output.

    Chen et al., "AdaptFormer: adapting vision transformers for scalable visual recognition" (NeurIPS 2022), section
    3.2: ``x + MLP(norm(x)) + scale * up(ReLU(down(x)))``, with dropout on the hidden units and the authors'
    initialization. APER, RanPAC and EASE use it with 64 hidden units. Unlike it, `Adapter` is parallel to the
    attention, reads the output of the norm, and has GELU and a learned scale.
    """

    role = "adapters"

    def __init__(
        self,
        model: nn.Module,
        blocks: Sequence[int],
        bottleneck: int,
        generator: torch.Generator,
        entries: int = 1,
        *,
        scale: float = 0.1,
        dropout: float = 0.1,
    ) -> None:
        """Create the bottleneck networks.

        Args:
            model: The network; it is not modified.
            blocks: Numbers of the blocks.
            bottleneck: Number of hidden units.
            generator: Source of the initial values.
            entries: Number of entries to which samples can be routed.
            scale: What the output is multiplied with (authors: 0.1).
            dropout: Dropout probability of the hidden units in training (authors: 0.1).
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
                scale=scale,
                dropout=dropout,
            )

    def attach(self, model: nn.Module) -> None:
        """Attach to the blocks; the residual stream is read where a block's second norm or its MLP is first called."""
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
                seen.clear()  # left over from an interrupted pass

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
            part.train(module.training)  # dropout follows the network's mode, which feature extraction changes
            added: Tensor = part(seen.pop(), self.route)
            return output + added

        return add
