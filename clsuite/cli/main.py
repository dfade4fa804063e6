"""The command line: parses, calls a command, and turns invalid input into one line and exit status 2."""

from __future__ import annotations

import errno
import os
import sys
from argparse import Namespace
from collections.abc import Sequence

from clsuite.cli.commands import COMMANDS
from clsuite.cli.commands.base import Command
from clsuite.cli.console import print_error
from clsuite.cli.interruption import signals_interrupt, status_of
from clsuite.cli.output import lost_for, safe_output
from clsuite.cli.parser import parse
from clsuite.cli.warnings_shown import print_warnings
from clsuite.errors import UserError, shortened

OF_THE_SYSTEM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE)
"""Errors that are clear without the name of a file, which writing into an open file does not report."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit status: 0 done, 1 some run failed or not all output could be written, 2 bad input, 130 interrupted by
        Ctrl-C, 143 by SIGTERM, 138 by SIGUSR1, 129 by SIGHUP.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    words = [*words[1:], "--help"] if words[:1] == ["help"] else words
    with safe_output() as out:
        status = _run(words)
        out.flush()
        if lost := lost_for(out):
            print_error(f"clsuite: {lost}")
            return max(status, 1)
        return status


def _run(words: list[str]) -> int:
    name = words[0] if words and words[0] in COMMANDS else ""
    called = f"clsuite {name}".strip()
    try:
        with signals_interrupt():
            try:
                parsed = parse(words)
            except SystemExit as error:  # of --help, --version and --print-completion
                return int(error.code or 0)
            with print_warnings():
                return _do(COMMANDS[parsed.command], parsed)
    except UserError as error:
        print_error(f"{called}: {error}")
        return 2
    except KeyboardInterrupt as error:
        print_error("interrupted: finished runs are kept; run the command again to resume")
        return status_of(error)


def _do(command: Command, parsed: Namespace) -> int:
    try:
        return command.run(parsed)
    except SystemExit as error:  # by a user's plugin or stream; clsuite does not call it
        raise UserError(f"something that was imported ended the program: sys.exit({error.code!r})") from error
    except OSError as error:  # of what is asked of the system in passing, such as whether a path is a file
        problem = _refused_by_the_system(error)
        if problem is None:
            raise
        raise problem from error


def _refused_by_the_system(error: OSError) -> UserError | None:
    """The message for a file or folder that the system refuses: missing permission, a name too long, a full disk.

    None for any other error, which is a bug of clsuite and keeps its traceback.
    """
    if error.filename is None and error.errno not in OF_THE_SYSTEM:
        return None
    named = isinstance(error.filename, str | bytes | os.PathLike)
    what = f"'{shortened(os.fsdecode(error.filename))}'" if named else "a file"
    return UserError(f"cannot use {what}: {error.strerror or error}")


if __name__ == "__main__":
    sys.exit(main())
