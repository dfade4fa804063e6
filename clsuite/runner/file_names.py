"""Names of folders and files that are made from the names of methods."""

from __future__ import annotations

import hashlib

LONGEST_FOLDER = 255
"""Largest number of bytes of a folder's name on usual file systems."""


def file_name(method: str) -> str:
    """The folder of a method: its name without characters that file systems refuse; long names end in a hash."""
    name = fit_for_files(method)
    content = name.encode("utf-8", "replace")
    if len(content) <= LONGEST_FOLDER:
        return name
    digest = hashlib.sha256(method.encode("utf-8", "replace")).hexdigest()[:12]
    return f"{content[: LONGEST_FOLDER - 13].decode(errors='ignore')}-{digest}"


def fit_for_files(method: str) -> str:
    """The name of a method without characters that file systems refuse."""
    return "".join(character if character.isalnum() or character in "+-_.=," else "_" for character in method)
