"""The argument parser's complaints as one line that names the culprit and the fix."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from clsuite.errors import UserError, did_you_mean, shortened

MISTYPED = re.compile(r'Parser key "(?P<key>\w+)": Expected an? (?P<type>.+?)\. Got value: ?(?P<value>.*)')
HIDDEN = "--print_shtab"
VALUELESS = re.compile(r"argument (?P<option>\S+): ignored explicit argument ['\"](?P<value>.*)['\"]")
CHOICE = re.compile(r"invalid choice: '?(?P<value>[^' ]+)")


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
    if found := VALUELESS.search(text):
        return UserError(f"{found['option']} takes no value, but '{shortened(found['value'])}' is given")
    if HIDDEN in text:  # the parser's own way to completions, which it has given up
        return did_you_mean("option", HIDDEN, options)
    if "unrecognized arguments" in text.lower():
        unknown = next((part for part in text.split(":", 1)[1].split() if part.startswith("-")), text.split()[-1])
        return did_you_mean("option", unknown.split("=")[0], options)
    if found := CHOICE.search(text):
        return did_you_mean("command", found["value"], commands)
    if "required" in text:
        missing = text.rsplit(" ", 1)[1].rsplit(".", 1)[-1]
        return UserError(f"{missing.upper()} is missing. Try: clsuite{path} --help")
    if "was not provided" in text:
        return UserError(f"say what to do: clsuite{path} {{{','.join(commands)}}}. Try: clsuite{path} --help")
    return UserError(text)
