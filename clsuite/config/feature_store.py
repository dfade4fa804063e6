"""The switch and the limit of the features that runs share on disk; not part of a run's key, as they change no result.

With ``CLSUITE_FEATURE_STORE=0`` every run computes its own features. ``CLSUITE_FEATURE_LIMIT`` limits the size of the
store in a cache folder (``20GB`` by default); features that were not used for the longest time are deleted first.
"""

from __future__ import annotations

import os
import re

from clsuite.errors import UserError, shortened

SWITCH, LIMIT = "CLSUITE_FEATURE_STORE", "CLSUITE_FEATURE_LIMIT"
DEFAULT_LIMIT = "20GB"
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?b)", re.IGNORECASE)


def shares_features() -> bool:
    """Whether runs share features on disk: they do unless ``CLSUITE_FEATURE_STORE`` is ``0``."""
    return os.environ.get(SWITCH, "1") != "0"


def feature_limit() -> int:
    """Largest size of the store in bytes.

    Raises:
        UserError: If ``CLSUITE_FEATURE_LIMIT`` is not a size.
    """
    try:
        return read_size(os.environ.get(LIMIT) or DEFAULT_LIMIT)
    except UserError as error:
        raise UserError(f"{LIMIT}: {error}") from error


def read_size(text: str) -> int:
    """The number of bytes of a text such as ``500MB`` or ``20 GB``.

    Raises:
        UserError: If it is not a size.
    """
    found = SIZE.fullmatch(text.strip())
    if found is None:
        raise UserError(f"'{shortened(text)}' is not a size, such as 500MB or 20GB")
    return int(float(found[1]) * UNITS[found[2].upper()])
