"""Names of devices. Needs no torch."""

from __future__ import annotations

import re

from clsuite.errors import UserError, shortened

DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,4})?")


def checked_device(name: str) -> str:
    """The name of a device that runs can be on; whether it is there is another matter.

    Raises:
        UserError: If it is none.
    """
    if DEVICE.fullmatch(name) is None:
        raise UserError(f"unknown device '{shortened(name)}': use auto, cpu, cuda, cuda:N or mps")
    return name
