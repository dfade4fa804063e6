"""Names of devices. Needs no torch."""

from __future__ import annotations

import re

from clsuite.errors import UserError, shortened

DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,4})?")


def checked_device(name: str) -> str:
    """Check the name of a device, without checking whether the device exists.

    Raises:
        UserError: If it is not the name of a device.
    """
    if DEVICE.fullmatch(name) is None:
        raise UserError(f"unknown device '{shortened(name)}': use auto, cpu, cuda, cuda:N or mps")
    return name
