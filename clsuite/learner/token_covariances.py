"""Second moments of the tokens that a transformer's attentions are given, over the images of some rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clsuite.learner.features import compute_features, in_eval_mode
from clsuite.learner.learner import Learner
from clsuite.learner.precision import full_precision
from clsuite.peft.blocks import transformer_blocks


@torch.no_grad()
def token_covariances(
    learner: Learner, rows: NDArray[np.int64], blocks: Sequence[int], augment: bool = False
) -> list[Tensor]:
    """The mean over all tokens of some images of ``x x'``, where x is what the queries, keys and values are made of.

    The images pass through the backbone as it is, with the modules that act in it, in eval mode and without gradient.

    Args:
        learner: The learner.
        rows: Rows of the table.
        blocks: Numbers of the transformer blocks.
        augment: Whether images are augmented as in training, by draws of the learner's.

    Returns:
        For each block a matrix ``[width, width]``, float64 on the CPU.
    """
    with learner.autocast(), _watched(learner.backbone.model, blocks) as seen:
        if augment:
            with in_eval_mode(learner.backbone):
                for batch in learner.batches_of(rows):
                    learner.encode(batch)
        else:
            compute_features(learner.backbone, learner.scenario.table.images, rows)
    return [moment / number for moment, number in seen]


@contextmanager
def _watched(model: nn.Module, blocks: Sequence[int]) -> Iterator[list[tuple[Tensor, int]]]:
    """Sums of the tokens' products, and numbers of tokens, of each block while the context lasts."""
    found = transformer_blocks(model)
    width = found[0].attn.qkv.in_features
    seen = [(torch.zeros(width, width, dtype=torch.float64), 0) for _ in blocks]

    def watch(place: int) -> Any:
        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            with full_precision(inputs[0]):
                tokens = inputs[0].float().flatten(0, -2)
                moment = (tokens.T @ tokens).cpu().double()
            seen[place] = (seen[place][0] + moment, seen[place][1] + len(tokens))

        return add

    handles = [found[number].attn.qkv.register_forward_hook(watch(place)) for place, number in enumerate(blocks)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
