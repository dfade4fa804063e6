"""Check for NaN and infinite weights, such as those of a diverged training, when they are loaded."""

from __future__ import annotations

import torch
from torch import nn

from clsuite.errors import UserError


def check_finite(model: nn.Module, what: str) -> None:
    """Check that all parameters and statistics of a network are finite.

    Args:
        model: The network with its weights.
        what: Where the weights come from, for the error message.

    Raises:
        UserError: If any is not; names the first one, and how many there are.
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
