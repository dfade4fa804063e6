"""Canonical JSON and the hashes made from it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from clsuite.regular_files import open_regular


def canonical_json(value: Any) -> str:
    """Serialize with sorted keys and no white space, identically on every machine.

    Raises:
        ValueError: If the value has a number that JSON does not support (nan, infinity).
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_of(value: Any) -> str:
    """Hash of the canonical JSON of a value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Hash of a file's bytes.

    Raises:
        OSError: If the file cannot be read.
    """
    with open_regular(path) as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
