"""Weights that are numbers: what a diverged training left behind is refused where it is read."""

from __future__ import annotations

import torch
from torch import nn

from clsuite.errors import UserError


def check_finite(model: nn.Module, what: str) -> None:
    """See that no parameter and no statistic of a network is NaN or infinite.

    Args:
        model: The network, its weights loaded.
        what: Where they come from, for the complaint.

    Raises:
        UserError: If one is; names the first, and how many there are.
    """
    bad = [
        name for name, value in model.state_dict().items()
        if value.is_floating_point() and not bool(torch.isfinite(value).all())
    ]  # fmt: skip
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise UserError(
            f"{what} holds NaN or infinite values, in '{bad[0]}'{more}: they come from a training that diverged"
        )
