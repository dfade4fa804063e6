"""A plugin under test: its factory, class, source and declarations."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from clsuite.conformance.finding import Finding
from clsuite.conformance.source_lines import Lines
from clsuite.errors import UserError
from clsuite.plugin.base import Plugin
from clsuite.plugin.imported import describe
from clsuite.plugin.introspection import PluginSource
from clsuite.plugin.loading import is_of_file
from clsuite.plugin.source_hash import Home
from clsuite.regular_files import read_text

Factory = Callable[[], Plugin]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Subject:
    """A plugin under test.

    Attributes:
        name: Its name for users.
        make: Creates a new instance.
        cls: Its class.
        lines: Its source.
        declared: Its declarations.
        device: The device of the tests.
    """

    name: str
    make: Factory
    cls: type[Plugin]
    lines: Lines
    declared: PluginSource
    device: torch.device = CPU

    def finding(self, check: str, message: str, fix: str, line: int) -> Finding:
        """Create a finding at a line."""
        return Finding(check, message, fix, self.lines.path.name, line, self.lines.code(line))

    def line_of(self, error: BaseException) -> int:
        """The innermost line of the plugin's file in the traceback of an error; 0 if there is none."""
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame.lineno for frame in frames if Path(frame.filename) == self.lines.path]
        return (own[-1] or 0) if own else 0

    def is_innermost(self, error: BaseException) -> bool:
        """Whether an error was raised in the plugin's file itself, apart from PyTorch's frames."""
        frames = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        outside = [name for name in frames if Path(torch.__file__).parent not in Path(name).parents]
        return bool(outside) and Path(outside[-1]) == self.lines.path


def subject_of(make: Factory, cls: type[Plugin] | None = None, name: str = "") -> Subject:
    """Describe a plugin under test.

    Args:
        make: Creates a new instance.
        cls: Its class; by default that of the result of `make`.
        name: Its name for users; by default the name of the class.

    Raises:
        UserError: If its source cannot be read.
    """
    cls = cls or type(make())
    try:
        path = Path(inspect.getfile(cls))
        text = read_text(path)
        declared = describe(cls, text, _home(cls, path))
    except (OSError, TypeError, SyntaxError, ValueError) as error:
        raise UserError(f"cannot read the source of plugin '{name or cls.__name__}': {error}") from error
    return Subject(name or cls.__name__, make, cls, Lines(path, text, cls.__name__), declared)


def _home(cls: type[Plugin], path: Path) -> Home:
    """The location of a class; a plugin that is a file belongs to no package."""
    module = cls.__module__
    return Home("" if is_of_file(module) else module, path, path.name == "__init__.py")
