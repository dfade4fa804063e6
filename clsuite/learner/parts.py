"""A batch that passes through the backbone in parts, and is learned from as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from clsuite.data.batch import Batch
from clsuite.errors import UserError
from clsuite.private_api import batch_norm_class


def encode_in_parts(encode: Callable[[Batch], Tensor], batch: Batch, parts: int) -> Tensor:
    """Features ``[B, width]`` of a batch, of which no more than a part is in the network at a time.

    The activations of a part are let go, and computed again when its gradient is due. The loss sees all features at
    once, so that each loss is the same as without parts, also one that compares samples or draws some of its own; and
    all that a method does at a step it does once.

    Args:
        encode: Features of a batch, with gradient.
        batch: The batch, its images transformed.
        parts: How many.
    """
    sizes = [len(rows) for rows in torch.arange(len(batch)).tensor_split(min(parts, len(batch)))]
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    features: list[Tensor] = []
    with set_checkpoint_early_stop(False):  # so that hooks after the network's pass are called in the second one too
        for start, size in zip(starts, sizes, strict=True):
            part = batch.part(slice(start, start + size))
            features.append(checkpoint(encode, part, use_reentrant=False))
    return torch.cat(features)


def refuse_batch_statistics(modules: Iterable[nn.Module], what: str) -> None:
    """Make sure that no sample's features follow from its batch.

    Args:
        modules: Of the network.
        what: What takes the batch apart, for the message.

    Raises:
        UserError: If a batch normalization is trained: it would normalize by parts of the batch.
    """
    normalizing = (module for module in modules if isinstance(module, batch_norm_class()))
    if any(value.requires_grad for module in normalizing for value in module.parameters()):
        raise UserError(
            f"{what} takes batches apart, and the backbone has batch normalizations that are trained, which normalize "
            "by the whole batch: leave it out, or take a backbone without them, such as a ViT"
        )
