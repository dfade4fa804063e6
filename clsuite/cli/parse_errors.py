"""The argument parser's complaints as one line that names the culprit and the fix."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Sequence

from clsuite.errors import LONGEST_WORDS, UserError, did_you_mean, shortened

MISTYPED = re.compile(r'Parser key "(?P<key>\w+)": Expected an? (?P<type>.+?)\. Got value: ?(?P<value>.*)')
HIDDEN = "--print_shtab"
UNREAD = re.compile(r'Parser key "(?P<key>\w+)": (?P<why>.*)')
TOO_LONG = "Exceeds the limit"
"""Begins what Python says of a number of thousands of digits."""
VALUELESS = re.compile(r"argument (?P<option>\S+): ignored explicit argument ['\"](?P<value>.*)['\"]")
AMBIGUOUS = re.compile(r"ambiguous option: (?P<option>.+) could match (?P<names>.+)")
OF_THE_SYSTEM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE)
"""Errors that say enough without the name of a file, which writing into an open one does not give."""
CHOICE = re.compile(r"invalid choice: (['\"]?)(?P<value>.*)\1 \(choose from")


def explain(message: str, path: str, commands: Sequence[str], options: Iterable[str]) -> UserError:
    """Rewrite a complaint.

    Args:
        message: What the parser says.
        path: The commands that were given, each after a space.
        commands: Names of those that may follow.
        options: Options of the command that was given, such as ``--out``.
    """
    text = " ".join(message.split())
    if found := MISTYPED.search(text):
        kind = re.sub(r"<class '(\w+)'>", r"\1", found["type"]).removeprefix("typing.")
        choices = re.findall(r"'([^']+)'", kind)
        if choices:
            return did_you_mean(f"{found['key']}:", found["value"], choices)
        return UserError(
            f"--{found['key'].replace('_', '-')} is '{found['value']}', but must be a value of type {kind}"
        )
    if found := UNREAD.search(text):
        why = "the number has too many digits" if TOO_LONG in text else shortened(found["why"], LONGEST_WORDS)
        return UserError(f"--{found['key'].replace('_', '-')}: {why}")
    if found := VALUELESS.search(text):
        return UserError(f"{found['option']} takes no value, but '{shortened(found['value'])}' is given")
    if unknown := _unknown_option(message, path, options):
        return unknown
    if found := CHOICE.search(text):
        return did_you_mean("command", found["value"], commands)
    if "required" in text:
        missing = text.rsplit(" ", 1)[1].rsplit(".", 1)[-1]
        return UserError(f"{missing.upper()} is missing. Try: clsuite{path} --help")
    if "was not provided" in text:
        return UserError(f"say what to do: clsuite{path} {{{','.join(commands)}}}. Try: clsuite{path} --help")
    return UserError(text)


def _unknown_option(message: str, path: str, options: Iterable[str]) -> UserError | None:
    """The complaint about an option that there is not, or a word too many; None of any other complaint."""
    if found := AMBIGUOUS.search(" ".join(message.split())):
        known = [name for name in found["names"].split(", ") if name != HIDDEN]
        return UserError(f"the option '{shortened(found['option'])}' may be {', '.join(known)}: write it out")
    if HIDDEN in message:  # the parser's own way to completions, which it has given up
        return did_you_mean("option", HIDDEN, options)
    if "unrecognized arguments" not in message.lower():
        return None
    more = message.split(":", 1)[1].strip()
    unknown = next((part for part in more.split() if part.startswith("-")), None)
    if unknown is None:
        return UserError(f"'{shortened(more)}' is more than it takes. Try: clsuite{path} --help")
    return did_you_mean("option", unknown.split("=")[0], options)


def refused_by_the_system(error: OSError) -> UserError | None:
    """A complaint about a file or folder that the system refuses: no right to it, a name too long, a full disk.

    None of any other error, which is a fault of ours and keeps its traceback.
    """
    if error.filename is None and error.errno not in OF_THE_SYSTEM:
        return None
    named = isinstance(error.filename, str | bytes | os.PathLike)
    what = f"'{shortened(os.fsdecode(error.filename))}'" if named else "a file"
    return UserError(f"cannot use {what}: {error.strerror or error}")
