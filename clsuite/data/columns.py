"""What a batch carries for each sample besides its label: soft labels, weights, logits, or what else a method needs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.data.on_device import moved
from clsuite.errors import UserError

WEIGHTS, TARGETS = "weights", "targets"
"""Columns that the cross-entropy knows: what a sample counts, and its soft label."""

Columns = Mapping[str, Tensor]


def checked(columns: Columns, samples: int) -> dict[str, Tensor]:
    """Columns of as many rows as a batch has samples.

    Raises:
        UserError: If one has another number of rows.
    """
    for name, column in columns.items():
        if not isinstance(column, Tensor) or column.dim() == 0 or len(column) != samples:
            given = f"shape {list(column.shape)}" if isinstance(column, Tensor) else type(column).__name__
            raise UserError(
                f"column '{name}' of a batch of {samples} samples is of {given}: give a row for each sample"
            )
    return dict(columns)


def joined(first: Columns, labels: Tensor, second: Columns, more: Tensor, device: torch.device) -> dict[str, Tensor]:
    """The columns of a batch that is followed by another.

    What one of them does not have is filled: a weight of 1, the label as a soft label, nan in other numbers, -1 in
    whole ones. Soft labels over fewer classes are filled with zeros.

    Args:
        first: Columns of the first.
        labels: ``[B]``, its labels, on the CPU.
        second: Columns of the second.
        more: ``[E]``, its labels; where they are on a GPU, it is waited for.
        device: Where the columns are needed.

    Raises:
        UserError: If a column has different kinds of rows in the two.
    """
    together: dict[str, Tensor] = {}
    for name in {**first, **second}:
        like = first.get(name, second.get(name))
        assert like is not None
        parts = [
            moved(columns[name] if name in columns else _filled(name, like, of.cpu()), device)
            for columns, of in ((first, labels), (second, more))
        ]
        if name == TARGETS:
            widest = max(part.shape[1] for part in parts)
            parts = [F.pad(part, (0, widest - part.shape[1])) for part in parts]
        if parts[0].shape[1:] != parts[1].shape[1:]:
            shapes = " and ".join(str(list(part.shape[1:])) for part in parts)
            raise UserError(f"column '{name}' has rows of the shapes {shapes}: give both the same")
        together[name] = torch.cat(parts)
    return together


def _filled(name: str, like: Tensor, labels: Tensor) -> Tensor:
    """A column, on the CPU, of samples that have none of their own."""
    shape = (len(labels), *like.shape[1:])
    if name == WEIGHTS:
        return torch.ones(shape, dtype=like.dtype)
    if name == TARGETS:
        width = max(like.shape[1], int(labels.max()) + 1) if len(labels) else like.shape[1]
        return F.one_hot(labels, width).to(like.dtype)
    missing = float("nan") if like.is_floating_point() else 0 if like.dtype == torch.bool else -1
    return torch.full(shape, missing, dtype=like.dtype)
