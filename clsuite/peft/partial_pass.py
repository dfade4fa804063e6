"""Passes through a part of a transformer's blocks: leaving early, and computing the first blocks once for many passes.

Blocks are replaced for a while by what they would answer, which holds for every network that has them in one list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from clsuite.peft.blocks import block_list


def _blocks(model: nn.Module) -> list[nn.Module]:
    parent, name = block_list(model)
    return list(getattr(parent, name))


@contextmanager
def _answering(forwards: Sequence[tuple[nn.Module, Callable[..., Any]]]) -> Iterator[None]:
    """Blocks that compute something else for a while."""
    for block, forward in forwards:
        block.forward = forward
    try:
        yield
    finally:
        for block, _ in forwards:
            del block.forward


@contextmanager
def left_after(model: nn.Module, number: int) -> Iterator[None]:
    """Inside this context the network consists of its first blocks, and what follows its last one.

    Args:
        model: The network.
        number: How many blocks.
    """
    with _answering([(block, lambda tokens, *_, **__: tokens) for block in _blocks(model)[number:]]):
        yield


@contextmanager
def first_blocks_once(model: nn.Module, number: int) -> Iterator[None]:
    """Inside this context the first blocks are computed in the first pass; later passes of the same images go on there.

    Args:
        model: The network.
        number: How many blocks.
    """
    kept: list[Tensor] = []
    *passed, last = _blocks(model)[:number]
    through, compute = [block.forward for block in passed], last.forward

    def pass_by(forward: Callable[..., Any]) -> Callable[..., Any]:
        return lambda tokens, *given, **named: tokens if kept else forward(tokens, *given, **named)

    def remember(tokens: Tensor, *given: Any, **named: Any) -> Tensor:
        if not kept:
            kept.append(compute(tokens, *given, **named))
        return kept[0]

    forwards = [(block, pass_by(forward)) for block, forward in zip(passed, through, strict=True)]
    with _answering([*forwards, (last, remember)]):
        yield
