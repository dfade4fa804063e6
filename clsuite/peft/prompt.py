"""Prompt tuning: learned tokens among the input tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from clsuite.errors import UserError
from clsuite.peft.base import PET
from clsuite.peft.blocks import final_norm, transformer_blocks
from clsuite.peft.reads import Read

PromptInit = Literal["unit", "small", "xavier", "linear", "zeros"]


def first_values(init: PromptInit, size: Sequence[int], generator: torch.Generator, patch: int = 16) -> Tensor:
    """Initial values of prompts and keys ``[..., width]``, which differ between papers by a factor of a hundred.

    Args:
        init: ``unit``: U(-1, 1) (L2P's and DualPrompt's ports to PyTorch, PILOT, Renate); ``small``: U(0, 0.01) (the
            JAX code of both); ``xavier``: U(-b, b) with ``b = sqrt(6 / (3 patch^2 + width))`` (VPT's code); ``linear``:
            U(-b, b) with ``b = 1 / sqrt(width)``, a linear layer's (S-Prompts' code); ``zeros`` (APER's code).
        size: Shape of the tensor.
        generator: Source of randomness.
        patch: Side of a patch, for ``xavier``.
    """
    xavier, linear = math.sqrt(6 / (3 * patch**2 + size[-1])), 1 / math.sqrt(size[-1])
    bounds = {"unit": (-1.0, 1.0), "small": (0.0, 0.01), "xavier": (-xavier, xavier), "linear": (-linear, linear)}
    if init == "zeros":
        return torch.zeros(tuple(size))
    return torch.empty(tuple(size)).uniform_(*bounds[init], generator=generator)


class Prompt(PET):
    """Learned tokens after the class token.

    Jia et al., "Visual prompt tuning" (ECCV 2022). With one block (shallow) the tokens are inserted there and kept in
    later blocks; with several (deep), each later selected block replaces them by its own tokens. The authors' dropout
    of 0.1 on the tokens is omitted.

    Attributes:
        pooled: Whether the mean of the tokens' outputs is the feature of an image instead of the network's own features
            (L2P).
    """

    role = "prompts"

    def __init__(
        self,
        model: nn.Module,
        blocks: Sequence[int],
        length: int,
        generator: torch.Generator,
        entries: int = 1,
        init: PromptInit = "xavier",
        stays: bool = True,
    ) -> None:
        """Create the tokens for a network.

        Args:
            model: The network; it is not modified.
            blocks: Numbers of the blocks before which tokens are inserted.
            length: Number of tokens.
            generator: Source of the initial values.
            entries: Number of entries to which samples can be routed.
            init: The initial values; see `first_values`.
            stays: Whether tokens pass through later blocks that have none of their own, or leave behind their block.
        """
        super().__init__()
        _check(model)
        self._blocks, self._length, self._entries = tuple(blocks), length, entries
        self._pooled, self._without_pool, self._stays = False, "", stays
        width = transformer_blocks(model)[0].attn.qkv.in_features
        size = (len(self._blocks), length * entries, width)
        self.tokens = nn.Parameter(first_values(init, size, generator, patch=_patch(model)))

    @property
    def pooled(self) -> bool:
        """Whether the mean of the tokens is the feature of an image."""
        return self._pooled

    @pooled.setter
    def pooled(self, pooled: bool) -> None:
        if pooled and self._without_pool:
            raise UserError(self._without_pool)
        self._pooled = pooled

    @property
    def replaces_features(self) -> bool:
        """Whether the mean of the tokens is the feature of an image."""
        return self.pooled

    def reads(self) -> list[Read]:
        """The tokens are among those that their block is given."""
        return [Read("tokens", (place,), "block", number) for place, number in enumerate(self._blocks)]

    def attach(self, model: nn.Module) -> None:
        """Insert the tokens before the selected blocks, and remove them after the last block."""
        found = transformer_blocks(model)
        for place, number in enumerate(self._blocks):
            earlier = place > 0 and (self._stays or number - 1 in self._blocks)
            self._handles.append(found[number].register_forward_pre_hook(self._enter(place, earlier)))
        ends = [number for number in self._blocks if number + 1 not in self._blocks]
        for number in [len(found) - 1] if self._stays else ends:
            self._handles.append(found[number].register_forward_hook(self._leave))
        try:
            norm, prefix_tokens = final_norm(model)
        except UserError as error:
            if self.pooled:
                raise
            self._without_pool = str(error)
        else:
            self._handles.append(norm.register_forward_hook(self._pool(prefix_tokens)))

    @property
    def _present(self) -> int:
        """Number of tokens per sample."""
        return self._length * (self._entries if self.route is None else self.route.chosen.shape[1])

    def _enter(self, place: int, earlier: bool) -> Any:
        """Insert the tokens of a place, in place of earlier ones if there are any."""

        def enter(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            if not self.enabled:
                return None
            x = inputs[0]
            own = self.tokens[place]
            tokens = own.expand(len(x), -1, -1) if self.route is None else self.route.gather(own)
            rest = x[:, 1 + (self._present if earlier else 0) :]
            return (torch.cat([x[:, :1], tokens.to(x.dtype), rest], dim=1), *inputs[1:])

        return enter

    def _leave(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if not self.enabled:
            return None
        if self.pooled:
            return output[:, 1 : 1 + self._present]
        return torch.cat([output[:, :1], output[:, 1 + self._present :]], dim=1)

    def _pool(self, prefix_tokens: int) -> Any:
        """Put the mean in place of the class token and of the first patch, so that any pooling returns it."""

        def pool(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if not self.enabled or not self.pooled:
                return None
            return output.mean(dim=1, keepdim=True).expand(-1, prefix_tokens + 1, -1)

        return pool


def _patch(model: Any) -> int:
    """Side of a patch in pixels."""
    layer = model.conv1 if hasattr(model, "conv1") else getattr(model.patch_embed, "proj", None)
    return int(layer.kernel_size[0]) if isinstance(layer, nn.Conv2d) else 16


def _check(model: Any) -> None:
    """Refuse networks to which tokens cannot be added.

    Raises:
        UserError: If the network depends on the number of tokens.
    """
    if not any(hasattr(model, name) for name in ("patch_embed", "conv1")):
        raise UserError("prompt: tokens enter among image patches; a text tower's causal mask has a fixed length")
    tables = (getattr(module, "relative_position_bias_table", None) for module in model.modules())
    if getattr(model, "rope", None) is not None or any(table is not None for table in tables):
        raise UserError("prompt: the backbone's attention counts positions in each block, where added tokens have none")
