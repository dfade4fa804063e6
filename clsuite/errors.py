"""The error that users see: one line that names the problem and the fix."""

from __future__ import annotations

import difflib
import re
import signal
import warnings
from collections.abc import Iterable
from pathlib import Path

AT_MOST = 10
"""Largest number of names in a list of known names, and of mistakes that are reported at once."""
NEAREST = 5
"""Largest number of names that are suggested for an unknown one."""
LISTING = {
    "plugin": "clsuite list plugins", "benchmark": "clsuite list benchmarks", "backbone": "clsuite list backbones",
    "data set": "clsuite list datasets", "kind of scenario": "clsuite list scenarios",
    "augmentation": "clsuite list augmentations", "augmentation step": "clsuite list augmentations",
    "command": "clsuite --help", "strategy of Avalanche": "clsuite list strategies",
}  # fmt: skip
"""The command that lists all names, by the kind of the unknown name."""
LONGEST_SHORT = 3
"""Largest number of letters of an abbreviation."""
LONGEST_NAME = 100
"""Largest number of characters of a foreign name in a message."""
LONGEST_WORDS = 400
"""Largest number of characters of a foreign error in a message."""
LONGEST_WORD, LONGEST_LINE = 1000, 3000
"""Largest number of characters of a word, such as a path or a name, and of a line that is not shortened."""
OF_A_WORD = 200
"""Number of characters to which longer words are shortened."""
COMMANDING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
LONG_WORD = re.compile(rf"\S{{{LONGEST_WORD},}}")
ENDS_OF_LINES = re.compile(r"[\n-\r\x1c-\x1e\x85\u2028\u2029]")


class UserError(Exception):
    """Invalid input. The CLI prints it and exits with status 2, never with a traceback.

    The message is one line of limited length: file names and other foreign texts may contain line ends, which are
    escaped, and may be very long. The attributes hold the parts of the message, for programs.

    Attributes:
        message: What is wrong, without the file and line that ``str()`` puts in front of it.
        path: The file with the mistake; None if it is in no file, or that is not known.
        line: The line of that file.
        field: The key, argument or name that is wrong, such as ``training.epochs``.
        suggestion: What may be meant instead.
    """

    def __init__(
        self,
        text: str = "",
        *,
        path: Path | str | None = None,
        line: int | None = None,
        field: str | None = None,
        suggestion: str | None = None,
    ) -> None:
        """Take the message, shortened to a readable length, and what is known of the mistake."""
        super().__init__(bearable(self._lines(text)))
        self.message = str(self)
        self.path = None if path is None else Path(path)
        self.line, self.field, self.suggestion = line, field, suggestion

    @classmethod
    def in_file(cls, path: Path, line: int, error: UserError | str) -> UserError:
        """A mistake in a file, with file and line in front of the message.

        Args:
            path: The file.
            line: The line.
            error: What is wrong.
        """
        known = error if isinstance(error, UserError) else UserError(error)
        placed = cls(f"{path}:{line}: {known}", path=path, line=line, field=known.field, suggestion=known.suggestion)
        placed.message = known.message
        return placed

    @staticmethod
    def _lines(text: str) -> str:
        """The text on the lines that a message may have."""
        return on_one_line(text)


class MistakesError(UserError):
    """Several mistakes at once, one per line; the attributes are those of the first."""

    @staticmethod
    def _lines(text: str) -> str:
        return text


class AbsentError(UserError):
    """Data or weights that are not on this machine; everything else about the benchmark may be valid."""


class Interruption(KeyboardInterrupt):
    """Raised by signals while a command runs, instead of ending the process at once."""

    def __init__(self, number: int) -> None:
        """Store the number of the signal."""
        super().__init__()
        self.number = number


class InputWarning(UserWarning):
    """Input that was accepted or corrected, and of which users should know; the command line prints it on one line."""


class DataWarning(InputWarning):
    """An `InputWarning` about data. Every process that loads the data finds it, and only the first reports it."""


def warn_of(text: str, kind: type[InputWarning] = DataWarning) -> None:
    """Warn of something that is not an error, on one line; equal lines are shown once."""
    warnings.warn(bearable(printable(text)), kind, stacklevel=2)


def on_one_line(text: str) -> str:
    """A foreign text with an escape for each character that ends a line."""
    return ENDS_OF_LINES.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def printable(text: str) -> str:
    """A foreign text on one line, with an escape for each unprintable character (ESC, NUL, ...)."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def harmless(text: str) -> str:
    """A foreign text of several lines, with an escape for each character that controls a terminal or has no encoding.

    These are control characters other than line ends and tabs, characters that change the direction of text, unpaired
    surrogates, and code points that are not characters.
    """
    return COMMANDING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def on_screen(text: str) -> str:
    """A foreign text as `harmless` returns it, with its longest words cut in the middle."""
    return LONG_WORD.sub(lambda found: _cut(found[0], OF_A_WORD), harmless(text))


def bearable(text: str) -> str:
    """A message of readable length: the middle of very long words and lines is left out."""
    words = LONG_WORD.sub(lambda found: _cut(found[0], OF_A_WORD), text)
    return "\n".join(_cut(line, LONGEST_LINE) for line in words.split("\n"))


def _cut(text: str, longest: int) -> str:
    """A text without its middle if it is longer: the ends of a path say the most."""
    tail = longest // 3
    return text if len(text) <= longest else f"{text[: longest - tail]}…{text[-tail:]}"


def did_you_mean(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Build the error for an unknown name, with the nearest known names.

    Args:
        kind: What was looked for, such as ``plugin``.
        name: The name that was not found.
        known: The names that exist.

    Returns:
        An error to raise, for example ``unknown plugin 'reply'. Did you mean 'replay'? All: clsuite list plugins``.
    """
    names = sorted(known)
    text = unknown_word(f"{kind} '{shortened(name)}'", name, names)
    message = f"{text} All: {LISTING[kind]}" if kind in LISTING else text
    return UserError(message, field=name, suggestion=next(iter(nearest(name, names)), None))


def unknown_word(what: str, name: str, known: Iterable[str], number: int = NEAREST) -> str:
    """The sentence of `did_you_mean` for any description of what is unknown, such as ``key 'training.epoch'``."""
    names = list(dict.fromkeys(known))
    near = nearest(name, names, number)
    hint = f"Did you mean {' or '.join(repr(one) for one in near)}?" if near else f"Known: {listed(names)}."
    return f"unknown {what}. {hint}"


def nearest(name: str, known: Iterable[str], number: int = NEAREST) -> list[str]:
    """The known names nearest to a name: those with the same beginning, short ones first, then similar spellings."""
    names = sorted(known, key=lambda one: (len(one), one))
    lower = name.lower()
    begun = [one for one in names if len(name) > 1 and one.lower().startswith(lower)]
    if len(name) > LONGEST_NAME:
        return []
    spelled = difflib.get_close_matches(lower, sorted({one.lower() for one in names}), n=number, cutoff=0.6)
    alike = [one for word in spelled for one in names if one.lower() == word]
    return list(dict.fromkeys([*begun, *alike]))[:number] or [one for one in names if _shortens(lower, one)][:number]


def _shortens(short: str, name: str) -> bool:
    """Whether two or three letters abbreviate a name, as ``md`` does ``markdown``."""
    letters = iter(name.lower())
    return (
        1 < len(short) <= LONGEST_SHORT and name.lower().startswith(short[0]) and all(one in letters for one in short)
    )


def listed(names: Iterable[str], at_most: int = AT_MOST) -> str:
    """Names as a list for readers: the first ones, and how many more there are."""
    known = [shortened(one) for one in names]
    if len(known) <= at_most + 2:  # "and 2 more" would be no shorter
        return ", ".join(known) or "none"
    return f"{', '.join(known[:at_most])}, … and {len(known) - at_most} more"


def shortened(text: str, longest: int = LONGEST_NAME) -> str:
    """A foreign text on one line of limited length."""
    shown = printable(text)
    return shown if len(shown) <= longest else f"{shown[:longest]}…"


def is_foreign(error: BaseException) -> bool:
    """Whether an exception comes from user code: anything but Ctrl-C, and signals treated like it.

    A plugin may raise `KeyboardInterrupt` itself, or any other `BaseException`. It is distinguished from Ctrl-C where
    the command line or a worker process handles signals; elsewhere it is treated as Ctrl-C.
    """
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return not isinstance(error, KeyboardInterrupt) or not (usual or isinstance(error, Interruption))


def words_of(error: BaseException) -> str:
    """Type and message of an error of user code, on one line of limited length."""
    try:
        text = " ".join(str(error).split())
    except BaseException as other:
        if not is_foreign(other):
            raise
        text = ""
    kind = type(error).__name__
    return shortened(f"{kind}: {text}" if text else kind, LONGEST_WORDS)


def several(mistakes: Iterable[UserError | str]) -> UserError:
    """One error for several mistakes, one per line: the first ones, and how many more there are."""
    errors = [one if isinstance(one, UserError) else UserError(one) for one in mistakes]
    if len(errors) == 1:
        return errors[0]
    rest = [f"… and {len(errors) - AT_MOST} more mistakes"] if len(errors) > AT_MOST else []
    first = errors[0] if errors else UserError()
    return MistakesError(
        "\n".join([*map(str, errors[:AT_MOST]), *rest]),
        path=first.path, line=first.line, field=first.field, suggestion=first.suggestion,
    )  # fmt: skip
