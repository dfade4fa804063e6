"""Checks the names and texts of a record, all of which are published."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from clsuite.errors import printable
from clsuite.records import RunRecord
from clsuite.runner.file_names import fit_for_files

LONGEST_NAME = 120
"""Largest number of bytes in the name of a folder of the published records, so that every file system accepts it."""
UNSHOWN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters other than tabs and line ends, and characters that change the direction of text."""

PATH = re.compile(
    r"file://|(?<![\w/])~\w*/\w|(?<![A-Za-z0-9])[A-Za-z]:[\\/]\w|(?<!\\)\\\\[\w.-]+\\\w"
    r"|(?<![\w.~/)\]}>*-])/(?:(?:home|root|tmp|usr|var|opt|mnt|srv|Users)\b|[\w.@+-]+/[\w.@+-])"
)
"""A path of a machine within a text: of a home or a drive, or from the root on, of two names or a well-known one.

What follows a name, a dot or a bracket is not a beginning of one: ``and/or``, ``https://a.org/b/c``, ``2026/11/27``.
"""


def name_problem(record: RunRecord) -> str:
    """The problem with its names, which must be printable, and for benchmark and method be valid names of folders."""
    for what, name, folder in (
        ("benchmark", record.benchmark, record.benchmark), ("method", record.method, fit_for_files(record.method))
    ):  # fmt: skip
        if not name.replace(".", "").strip():
            return f"its {what} '{printable(name)}' is not a name"
        if problem := _unfit(name):
            return f"its {what} {problem}"
        if bad := set(folder) & {"/", "\\"}:
            return f"its {what} '{name}' holds {min(bad)!r}, which no folder may be called"
        if (size := len(folder.encode("utf-8", "replace"))) > LONGEST_NAME:
            return f"the name of its {what} takes {size} bytes, but may take {LONGEST_NAME} at most"
    shown = {
        "scenario.task_names": record.scenario.task_names, "scenario.part_names": record.scenario.part_names,
        "probes": [probe.name for probe in record.probes],
    }  # fmt: skip
    return next(
        (f"{where}: {reason}" for where, names in shown.items() for name in names if (reason := _unfit(name))), ""
    )


def _unfit(name: str) -> str:
    """Why a name cannot be shown in a table; empty if it can."""
    if bad := next((character for character in name if not character.isprintable()), ""):
        return f"'{printable(name)}' holds '{printable(bad)}', which cannot be printed"
    return f"'{name}' begins or ends with a blank" if name != name.strip() else ""


def portability_problem(record: RunRecord) -> str:
    """The problem with its values: no path of a machine, and nothing that a file or a terminal cannot hold."""
    content = record.model_dump(exclude={"tasks": {"__all__": {"final_loss"}}})
    return next((reason for leaf in _leaves(content) if (reason := _unportable(leaf))), "")


def _unportable(leaf: Any) -> str:
    if isinstance(leaf, float) and not math.isfinite(leaf):
        return f"it holds a number that JSON cannot carry: {leaf}"
    if not isinstance(leaf, str):
        return ""
    if leaf.encode("utf-8", "ignore").decode("utf-8") != leaf:
        return f"it holds text that cannot be written: {leaf!r}"
    if bad := UNSHOWN.search(leaf):
        return f"it holds the character '{printable(bad[0])}', which cannot be shown: '{printable(leaf[:80])}'"
    if _is_absolute(leaf):
        return f"it holds a path of a machine: '{leaf[:200]}'"
    return ""


def _leaves(value: Any) -> Iterator[Any]:
    """All keys and values that are nested in a JSON value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _is_absolute(text: str) -> bool:
    whole = text.startswith(("/", "~/", "\\\\")) or text[1:3] in (":\\", ":/")
    return whole or PATH.search(text) is not None
