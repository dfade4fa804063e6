"""How buffers choose, and how many exemplars they hold. Needs no torch."""

from __future__ import annotations

from typing import Literal

from clsuite.errors import UserError

Policy = Literal["reservoir", "class_balanced", "herding"]

LABEL_BYTES, LOGIT_BYTES = 8, 4
"""What a label and a logit of an exemplar take."""


def check_one_of_each(plugin: str, policy: str, capacity: int, classes: int) -> None:
    """Check that a buffer that classes share has a place for each.

    Raises:
        UserError: If it has not.
    """
    if policy != "reservoir" and capacity < classes:
        raise UserError(
            f"{plugin}: a {policy} buffer of {capacity} has not one exemplar for each of the stream's {classes} "
            f"classes: give it a capacity of at least {classes}"
        )


def exemplar_capacity(
    exemplars: int | None, size: int | None, bytes_per_exemplar: int, plugin: str = "a buffer"
) -> int:
    """The capacity in exemplars, from exactly one of a number and a size in bytes.

    Args:
        exemplars: The number.
        size: The size in bytes.
        bytes_per_exemplar: What an exemplar takes; 1 where that is not known yet.
        plugin: Name of the plugin, for messages.

    Raises:
        UserError: If both or none are given, or there is no place for an exemplar.
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
    """Check the capacity that a plugin that rehearses is given; it takes what the constructor of its base takes.

    Args:
        owner: Name of the plugin, for messages.
        capacity: Exemplars kept; None where a size is given.
        capacity_bytes: Bytes kept instead.
        policy: Which exemplars stay; says nothing of the capacity before the stream is known.
        with_logits: Whether logits are stored; likewise.

    Raises:
        UserError: If both or none are given, or there is no place for an exemplar.
    """
    exemplar_capacity(capacity, capacity_bytes, 1, owner)
