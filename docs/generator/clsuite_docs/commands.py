"""The page of the command line: the help of every command, as it prints it itself."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stdout
from unittest.mock import patch

from clsuite.cli.commands import COMMANDS
from clsuite.cli.main import main

HEADING = """\
# Command line

The help of each command. Bad input is one line that says what is wrong and how to fix it, with exit status 2;
[Run and resume](../how-to/run.md) has all exit statuses.
"""
WIDTH = 100
"""Columns of the help."""


def page() -> str:
    """The whole page."""
    return "\n\n".join([HEADING, *map(section, COMMANDS)]) + "\n"


def section(name: str) -> str:
    """One command."""
    return f"## clsuite {name}\n\n```text\n{help_of(name)}\n```"


def help_of(*words: str) -> str:
    """What ``clsuite WORDS --help`` prints."""
    with patch.dict(os.environ, {"COLUMNS": str(WIDTH)}), redirect_stdout(io.StringIO()) as said:
        main([*words, "--help"])
    return said.getvalue().strip()
