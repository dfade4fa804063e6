"""The names of folders and files that are made from the names of methods."""

from __future__ import annotations

import hashlib

LONGEST_FOLDER = 255
"""Bytes of the name of a folder, as many as the usual file systems take."""


def file_name(method: str) -> str:
    """The folder of a method: its name with what file systems may refuse replaced; of a long one a hash ends it."""
    name = fit_for_files(method)
    content = name.encode("utf-8", "replace")
    if len(content) <= LONGEST_FOLDER:
        return name
    digest = hashlib.sha256(method.encode("utf-8", "replace")).hexdigest()[:12]
    return f"{content[: LONGEST_FOLDER - 13].decode(errors='ignore')}-{digest}"


def fit_for_files(method: str) -> str:
    """The name of a method with what file systems may refuse replaced."""
    return "".join(character if character.isalnum() or character in "+-_.=," else "_" for character in method)
