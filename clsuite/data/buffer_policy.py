"""How buffers select exemplars, and how many they hold. Needs no torch."""

from __future__ import annotations

from typing import Literal

from clsuite.errors import UserError

Policy = Literal["reservoir", "class_balanced", "herding"]

LABEL_BYTES, LOGIT_BYTES = 8, 4
"""Bytes of a label and of a logit of an exemplar."""


def check_one_of_each(plugin: str, policy: str, capacity: int, classes: int) -> None:
    """Check that a buffer that is shared by all classes can hold an exemplar of each.

    Raises:
        UserError: If it cannot.
    """
    if policy != "reservoir" and capacity < classes:
        raise UserError(
            f"{plugin}: a {policy} buffer of {capacity} has fewer exemplars than the stream's {classes} "
            f"classes: give it a capacity of at least {classes}"
        )


def exemplar_capacity(
    exemplars: int | None, size: int | None, bytes_per_exemplar: int, plugin: str = "a buffer"
) -> int:
    """The capacity in exemplars, from either a number or a size in bytes.

    Args:
        exemplars: The number.
        size: The size in bytes.
        bytes_per_exemplar: Bytes of one exemplar; 1 if that is not known yet.
        plugin: Name of the plugin, for messages.

    Raises:
        UserError: If both or neither are passed, or the size is less than one exemplar.
    """
    if (exemplars is None) == (size is None):
        raise UserError(f"{plugin}: give either capacity (exemplars) or capacity_bytes, and null for the other one")
    if exemplars is not None:
        if exemplars < 1:
            raise UserError(f"{plugin}: capacity is {exemplars}, but must be at least 1")
        return exemplars
    if size is None or size < bytes_per_exemplar:
        raise UserError(
            f"{plugin}: capacity_bytes is {size}, but must be at least {bytes_per_exemplar}, the size of one exemplar"
        )
    return size // bytes_per_exemplar


def check_capacity(
    owner: str,
    capacity: int | None,
    capacity_bytes: int | None = None,
    policy: Policy = "reservoir",
    with_logits: bool = False,
) -> None:
    """Check the capacity of a rehearsal plugin; the arguments are those of its base class's constructor.

    Args:
        owner: Name of the plugin, for messages.
        capacity: Number of exemplars; None if a size is passed.
        capacity_bytes: Size in bytes, as an alternative.
        policy: How exemplars are selected; not checked here, as that needs the stream.
        with_logits: Whether logits are stored; not checked either.

    Raises:
        UserError: If both or neither are passed, or the size is less than one exemplar.
    """
    exemplar_capacity(capacity, capacity_bytes, 1, owner)
