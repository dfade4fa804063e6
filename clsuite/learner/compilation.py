"""`torch.compile` as an option of a run: block by block, so that blocks with the same structure are compiled once."""

from __future__ import annotations

import torch
from torch import nn

from clsuite.errors import UserError


def compile_blocks(model: nn.Module) -> None:
    """Compile the blocks of a network in place, or the whole network if it has no ``blocks``.

    Names of parameters and states do not change. Compilation happens at the first call of each kind (training,
    evaluation, another batch size), once for all blocks with the same structure. The head is not compiled, because it
    grows.
    """
    blocks = getattr(model, "blocks", None)
    for block in blocks if isinstance(blocks, nn.Sequential | nn.ModuleList) else [model]:
        block.compile()


def check_compiler(device: torch.device) -> None:
    """Compile a small function to check that compilation works.

    Raises:
        UserError: If it does not: the CPU needs a C++ compiler, and a GPU needs Triton.
    """
    needed = "a C++ compiler such as g++" if device.type == "cpu" else "Triton and a C compiler"
    try:
        torch.compile(_line, fullgraph=True)(torch.ones(8, device=device))
    except Exception as error:  # each backend raises its own errors
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"training.compile needs {needed}, which does not work here ({reason}): install it, or leave compile out"
        ) from error


def _line(numbers: torch.Tensor) -> torch.Tensor:
    return 2 * numbers + 1
