"""The switch and the limit of the features that runs share on disk; no part of a run's key, as they change no result.

``CLSUITE_FEATURE_STORE=0`` has every run compute its own. ``CLSUITE_FEATURE_LIMIT`` says how much the store may hold in
a cache folder (``20GB`` by default); what was used longest ago goes first.
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
    """Whether runs share features on disk: they do, unless ``CLSUITE_FEATURE_STORE`` is ``0``."""
    return os.environ.get(SWITCH, "1") != "0"


def feature_limit() -> int:
    """Bytes that the store may hold.

    Raises:
        UserError: If ``CLSUITE_FEATURE_LIMIT`` is no size.
    """
    try:
        return read_size(os.environ.get(LIMIT) or DEFAULT_LIMIT)
    except UserError as error:
        raise UserError(f"{LIMIT}: {error}") from error


def read_size(text: str) -> int:
    """The number of bytes that a text such as ``500MB`` or ``20 GB`` says.

    Raises:
        UserError: If it says none.
    """
    found = SIZE.fullmatch(text.strip())
    if found is None:
        raise UserError(f"'{shortened(text)}' is not a size, such as 500MB or 20GB")
    return int(float(found[1]) * UNITS[found[2].upper()])
