"""The precision of a run, from its options and the hardware."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

from clsuite.errors import UserError
from clsuite.private_api import cpu_has_native_bf16

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


def native_bf16(device: torch.device) -> bool:
    """Whether the processor or GPU computes in bfloat16 natively."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return cpu_has_native_bf16()


def resolve_precision(asked: str, device: torch.device) -> Precision:
    """The precision of a run, in Lightning's terms.

    Args:
        asked: ``auto``, ``32``, ``bf16`` or ``16``.
        device: The device of the run.

    Raises:
        UserError: If the device does not support it.
    """
    if asked == "16" and device.type == "cpu":
        raise UserError("precision 16 needs a GPU: use bf16, 32 or auto on the CPU")
    if asked == "auto":
        asked = "bf16" if native_bf16(device) else "32"
    names: dict[str, Precision] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
    return names[asked]


def autocast(asked: str, device: torch.device) -> AbstractContextManager[Any]:
    """The autocast context of a precision."""
    kinds = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    kind = kinds.get(resolve_precision(asked, device))
    return nullcontext() if kind is None else torch.autocast(device.type, kind)


def refuse_unscaled(name: str, asked: str) -> None:
    """Refuse the precision in which the trainer scales losses, for a method with steps of its own that do not.

    Args:
        name: The plugin's.
        asked: As of `resolve_precision`, such as ``learner.options.precision``.

    Raises:
        UserError: If it is ``16``.
    """
    if asked == "16":
        raise UserError(f"{name}: precision 16 scales gradients, and those of its own steps are not: use bf16 or 32")


def has_slow_kernels(asked: str, device: torch.device) -> bool:
    """Whether PyTorch has slow kernels for this precision and device (``clsuite.backbones.slow_kernels``)."""
    return device.type == "cpu" and resolve_precision(asked, device) == "bf16-mixed"


def full_precision(like: Tensor) -> torch.autocast:
    """A context without autocast on the device of a tensor, for predictions that need more precision than bf16."""
    return torch.autocast(like.device.type, enabled=False)
