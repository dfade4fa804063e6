"""Why and where a run failed, from its record."""

from __future__ import annotations

import re
from collections.abc import Collection

from clsuite.records.record import RunRecord

LONGEST_REASON = 300
FIRST_KEPT, LAST_KEPT = 4_000, 16_000
"""Number of characters of the beginning and the end of a traceback in a record; a message may have megabytes."""
FRAME = re.compile(r'\s*File "(?P<file>.+)", line (?P<line>\d+)(, in (?P<function>.+))?')
ADVERTISED = "For further information visit"
"""The beginning of the end of pydantic's messages."""


def bounded(text: str) -> str:
    """A text as records store it: of a long one the beginning and the end, and unpaired surrogates as escapes."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    left_out = len(text) - FIRST_KEPT - LAST_KEPT
    if left_out <= 0:
        return text
    return f"{text[:FIRST_KEPT]}\n... {left_out} characters are left out ...\n{text[-LAST_KEPT:]}"


def reason_of(record: RunRecord) -> str:
    """Why a run has no result, on one line: the message of its exception, of several lines the first and the last."""
    lines = _message(record.error or "") or [record.status]
    return _cut(lines[0] if len(lines) == 1 else f"{_cut(lines[0])} ... {_cut(lines[-1])}")


def place_of(record: RunRecord, files: Collection[str]) -> str:
    """Where a run failed, as ``file.py:12, in on_task_end: the line``; empty if its record does not say.

    Args:
        record: The record of the failed run.
        files: Names of the files of its plugins. The last line in one of these is returned, or else the last of all.
    """
    lines = (record.error or "").splitlines()
    frames = [(found, number) for number, line in enumerate(lines) if (found := FRAME.fullmatch(line))]
    own = [frame for frame in frames if re.split(r"[/\\]", frame[0]["file"])[-1] in files]
    if not frames:
        return ""
    found, number = (own or frames)[-1]
    code = lines[number + 1].strip() if number + 1 < len(lines) else ""
    function = f", in {found['function']}" if found["function"] else ""
    return _cut(f"{found['file']}:{found['line']}{function}" + (f": {code}" if code else ""))


def _message(error: str) -> list[str]:
    """The lines of the exception's message at the end of a traceback; of another text the last line."""
    lines = [line for line in error.splitlines() if line.strip() and not line.strip().startswith(ADVERTISED)]
    frames = [number for number, line in enumerate(lines) if FRAME.fullmatch(line)]
    if not frames:
        return [line.strip() for line in lines[-1:]]
    after = lines[frames[-1] + 1 :]
    first = next((number for number, line in enumerate(after) if not line.startswith(" ")), 0)
    return [line.strip() for line in after[first:]]


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."
