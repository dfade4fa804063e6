"""The one error that people see: a line that names the culprit and the mend."""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Iterable

COMMANDING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class UserError(Exception):
    """Bad input. The CLI prints its single line and exits with status 2, never with a traceback."""


class AbsentError(UserError):
    """Data or weights that are not on this machine; everything else about the benchmark may be right."""


class InputWarning(UserWarning):
    """What was taken as it is, or made good, and people should know; the command line prints its line."""


class DataWarning(InputWarning):
    """An `InputWarning` about data: each process that loads them finds it again, so only the first one tells it."""


def warn_of(text: str, kind: type[InputWarning] = DataWarning) -> None:
    """Tell people something that is no error, on one line; the same line is told once."""
    warnings.warn(printable(text), kind, stacklevel=2)


def printable(text: str) -> str:
    """A foreign text on one line, with an escape for each character that cannot be printed (ESC, NUL, ...)."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def harmless(text: str) -> str:
    """A foreign text of several lines, with an escape for each character that commands a terminal or cannot be written.

    These are control characters other than ends of lines and tabs, those that turn the direction of what follows, and
    halves of characters, which no encoding has.
    """
    return COMMANDING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def did_you_mean(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Build the error for an unknown name, with the nearest known names.

    Args:
        kind: What was looked for, such as ``plugin``.
        name: The name that was not found.
        known: The names that exist.

    Returns:
        An error to raise, for example ``unknown plugin 'reply'. Did you mean 'replay'?``.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    hint = f"Did you mean {' or '.join(repr(n) for n in near)}?" if near else f"Known: {', '.join(names) or 'none'}."
    return UserError(f"unknown {kind} '{name}'. {hint}")
