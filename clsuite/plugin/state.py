"""Saves, restores and counts the declared state of a plugin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def tensor_bytes(value: Any) -> int:
    """Count the bytes of all tensors in a value: a tensor, a module (parameters and saved buffers), or a container.

    Args:
        value: Tensors, modules, objects with an attribute ``bytes``, and mappings, lists or tuples of these; others
            count 0.
    """
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, nn.Module):
        return tensor_bytes(value.state_dict())
    if isinstance(value, Mapping):
        return sum(map(tensor_bytes, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(tensor_bytes, value))
    return int(getattr(value, "bytes", 0))


def declared_state(cls: type[Any]) -> tuple[str, ...]:
    """Names of the attributes that a class and its bases declare in ``state``."""
    return tuple(dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base).get("state", ())))


def save_state(owner: Any) -> dict[str, Any]:
    """Return the declared attributes of an object by name, or their ``state_dict`` if they have one."""
    values = {name: getattr(owner, name) for name in declared_state(type(owner))}
    return {name: value.state_dict() if hasattr(value, "state_dict") else value for name, value in values.items()}


def load_state(owner: Any, state: Mapping[str, Any]) -> None:
    """Restore the result of `save_state` into an object."""
    for name in declared_state(type(owner)):
        if hasattr(getattr(owner, name, None), "load_state_dict"):
            getattr(owner, name).load_state_dict(state[name])
        else:
            setattr(owner, name, state[name])
