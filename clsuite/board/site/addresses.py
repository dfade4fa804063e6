"""File names for names in records, and links that are safe to follow."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote

PLAIN = re.compile(r"[a-z0-9][a-z0-9+_=-]{0,63}")
HASHED = re.compile(r".*-[0-9a-f]{10}")


def address(name: str) -> str:
    """A file name for a benchmark or method; different names have different addresses, on every file system.

    A plain name is its own address. In other names special characters are replaced, and part of a hash is added. A name
    that ends like such a hash does not count as plain, so that it cannot be the address of another name.
    """
    if PLAIN.fullmatch(name) and not HASHED.fullmatch(name) and name != "index":
        return name
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:10]
    return f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')[:40] or 'x'}-{digest}"


def record_link(record: str) -> str:
    """The address of a record relative to the leaderboard's folder; empty if it leads elsewhere."""
    parts = record.split("/")
    return quote(record, errors="replace") if parts[0] == "records" and not {"", ".", ".."} & {*parts} else ""
