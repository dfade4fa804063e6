"""What must hold of every input, however odd: the one criterion that all fuzzing shares, and how much is tried.

A call of the command line ends with a status that is documented, tells in few lines what is wrong and names the
culprit, shows no traceback and no word of a library's own, and writes nothing outside of its folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings

from clsuite.cli.main import main
from clsuite.errors import harmless, printable

EXAMPLES_VARIABLE = "CLSUITE_FUZZ_EXAMPLES"
"""Examples of all fuzzing together; 300 by default, 20,000 before a release."""
EXAMPLES = int(os.environ.get(EXAMPLES_VARIABLE, "300"))
BAD_INPUT = 2
STATUSES = (0, 1, BAD_INPUT, 130)
MOST_LINES = 15
SHOWN = 30
"""Characters of a culprit by which it is known."""
LONGEST = 3000
"""Characters that may be told; of a benchmark that is right the runs are listed besides."""
FOREIGN = re.compile(
    r"Traceback|Input should|instance of \w+|should match pattern|weights_only|further information|pydantic"
    r"|jsonargparse|namespace\(|<class '|object at 0x|\x1b|\[Errno|NoneType|not subscriptable|has no attribute"
    r"|positional argument|unhashable|not iterable"
    r"|\b(Attribute|Assertion|Index|Key|Name|OS|Overflow|Recursion|Runtime|Type|Unicode\w*|Value)Error\b",
    re.IGNORECASE,
)
SAYER = re.compile(r"^clsuite( [a-z]+)?: ", re.MULTILINE)
"""Stands before a complaint and says who complains: that is not a culprit."""


def fuzzed(share: float) -> settings:
    """Settings of one fuzz test: its share of all examples, the same ones each time, and no time limit for one."""
    return settings(
        max_examples=max(1, round(share * EXAMPLES)),
        deadline=None,
        derandomize=EXAMPLES_VARIABLE not in os.environ,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )


@dataclass(frozen=True)
class Told:
    """What a call of the command line came to.

    Attributes:
        status: Its exit status.
        out: What it printed.
        err: What it printed as complaint.
    """

    status: int
    out: str
    err: str


def call(words: Sequence[str]) -> Told:
    """Call the command line in this process; `--help` and `--version` end as they do in a shell."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = main([*words])
        except SystemExit as ended:  # after --help and --version
            status = int(ended.code or 0)
    return Told(status, out.getvalue(), err.getvalue())


def _listed(folder: Path) -> set[tuple[str, int]]:
    return {(str(path), path.lstat().st_mtime_ns if path.is_file() else 0) for path in folder.rglob("*")}


def broken_promises(words: Sequence[str], folder: Path, culprits: Sequence[str]) -> list[str]:
    """Call the command line, and say what of it is not as promised.

    Args:
        words: The call.
        folder: Holds the current and the home folder; nothing may be written there.
        culprits: Names of what was changed (files, keys, options, values), one of which a complaint must have as a
            word of its own.
    """
    before = _listed(folder)
    told = call(words)
    found = [f"wrote or removed {path}" for path, _ in sorted(_listed(folder) ^ before)]
    return [f"{one}: {told}" for one in found + _broken(told, culprits)]


def _broken(told: Told, culprits: Sequence[str]) -> list[str]:
    found = [] if told.status in STATUSES else [f"status {told.status}"]
    if foreign := FOREIGN.search(told.err):
        found.append(f"foreign words {foreign[0]!r}")
    if told.status != BAD_INPUT:
        return found
    if not 1 <= told.err.count("\n") <= MOST_LINES or len(told.err) > LONGEST:
        found.append("too short or too long a complaint")
    if not any(line.startswith("clsuite") for line in told.err.splitlines()):
        found.append("nobody says it")
    if not any(_named(culprit, SAYER.sub("", told.err)) for culprit in culprits):
        found.append(f"none of {culprits} is named")
    return found


def _named(culprit: str, complaint: str) -> bool:
    """Whether a complaint has a name as a word of its own, or in quotation marks where it has no letters at all.

    Of a long one the beginning will do, and of odd characters their escapes.
    """
    beginning = culprit[:SHOWN]
    shown = [(written(beginning), beginning != culprit) for written in (str, printable, harmless)]
    shown += [(escaped[:SHOWN], len(escaped) > SHOWN) for escaped in (printable(culprit), harmless(culprit))]
    return any(_is_word(one, complaint, cut) for one, cut in shown)


def _is_word(name: str, complaint: str, cut: bool) -> bool:
    before, after = (r"(?<!\w)", r"(?!\w)") if re.search(r"\w", name) else ("['\"]", "['\"]")
    return re.search(f"{before}{re.escape(name)}{'' if cut else after}", complaint) is not None
