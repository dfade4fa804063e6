"""clsuite's warnings on the command line: one line each, each once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clsuite.cli.console import print_error
from clsuite.errors import InputWarning, harmless


@contextmanager
def print_warnings() -> Iterator[None]:
    """While open, each `InputWarning` is a line on standard error; other warnings are unchanged."""
    reported: set[str] = set()
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if not issubclass(category, InputWarning):
                safe = harmless(str(message))
                usual(message if safe == str(message) else safe, category, *place, **more)
            elif str(message) not in reported:
                reported.add(str(message))
                print_error(f"warning: {message}")

        warnings.simplefilter("always", InputWarning)
        warnings.showwarning = show
        yield
