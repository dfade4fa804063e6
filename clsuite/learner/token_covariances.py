"""Second moments of the tokens that parts of a transformer are given, over the images of some rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clsuite.learner.features import compute_features, in_eval_mode
from clsuite.learner.learner import Learner
from clsuite.learner.precision import full_precision
from clsuite.peft.blocks import transformer_blocks

TokensOf = Literal["attention", "queries", "output", "block"]
"""Tokens of a block: what its queries, keys and values are made of; its queries; what its attention's last projection
is given; what the block is given, with the prompts among them."""


@torch.no_grad()
def token_covariances(
    learner: Learner,
    rows: NDArray[np.int64],
    blocks: Sequence[int],
    augment: bool = False,
    of: TokensOf = "attention",
) -> list[Tensor]:
    """The mean over all tokens of some images of ``x x'``, x being by default what queries, keys and values are of.

    The images pass through the backbone as it is, with the modules that act in it, in eval mode and without gradient.
    Prompts that are chosen by a query are those of the evaluation; where the tokens are not the attention's, plugins
    hear of each batch, so that the pass that computes a query is not counted.

    Args:
        learner: The learner.
        rows: Rows of the table.
        blocks: Numbers of the transformer blocks.
        augment: Whether images are augmented as in training, by draws of the learner's.
        of: Which tokens they are.

    Returns:
        For each block a matrix ``[width, width]``, float64 on the CPU.
    """
    with learner.autocast(), _watched(learner.backbone.model, blocks, of) as seen:
        if augment or of != "attention":
            with in_eval_mode(learner.backbone):
                for batch in learner.batches_of(rows, augment):
                    learner.encode(batch)
        else:
            compute_features(learner.backbone, learner.scenario.table.images, rows)
    return [moment / number for moment, number in seen]


@contextmanager
def _watched(model: nn.Module, blocks: Sequence[int], of: TokensOf) -> Iterator[list[tuple[Tensor, int]]]:
    """Sums of the tokens' products, and numbers of tokens, of each block while the context lasts."""
    found = transformer_blocks(model)
    width = found[0].attn.qkv.in_features
    seen = [(torch.zeros(width, width, dtype=torch.float64), 0) for _ in blocks]

    def watch(place: int) -> Any:
        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            with full_precision(inputs[0]):
                tokens = (output.chunk(3, dim=-1)[0] if of == "queries" else inputs[0]).float().flatten(0, -2)
                moment = (tokens.T @ tokens).cpu().double()
            seen[place] = (seen[place][0] + moment, seen[place][1] + len(tokens))

        return add

    handles = [_part(found[number], of).register_forward_hook(watch(place)) for place, number in enumerate(blocks)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _part(block: Any, of: TokensOf) -> Any:
    """The module that is given, or gives, the tokens."""
    if of == "block":
        return block
    return block.attn.proj if of == "output" else block.attn.qkv
