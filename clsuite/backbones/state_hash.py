"""The hash of a network's weights after loading, whatever their source."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def state_sha256(model: nn.Module) -> str:
    """SHA-256 of names, types, shapes and bytes of all entries in a network's state, sorted by name."""
    total = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
