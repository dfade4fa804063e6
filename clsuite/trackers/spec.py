"""Trackers: which there are, which packages they need, and which of them a call asks for. Needs no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Annotated, Any

from pydantic import BeforeValidator

from clsuite.errors import UserError, did_you_mean, shortened

PACKAGES = {"csv": None, "tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
"""The package that each tracker needs, which is also the name of its extra; None for none.

In this order they receive a row, so that none on this machine waits for a server.
"""
NONE = "none"
"""The word for no tracker, where the benchmark or the environment names some."""
VARIABLE = "CLSUITE_LOG"
"""The environment variable for the trackers."""


def read_trackers(value: Any) -> tuple[str, ...]:
    """Read names of trackers: a list, or a text with commas.

    Raises:
        UserError: If one is unknown, or is not a name.
    """
    parts: Sequence[Any] = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise UserError(f"trackers are names such as csv,tensorboard, not {shortened(str(value))}")
    names = [part.strip() for part in parts if part.strip()]
    for name in names:
        if name not in (*PACKAGES, NONE):
            raise did_you_mean("tracker", name, [*PACKAGES, NONE])
    if NONE in names:
        if len(names) > 1:
            raise UserError(f"'{NONE}' stands for no tracker: remove it, or the other names")
        return ()
    return tuple(name for name in PACKAGES if name in names)


def _read_field(value: Any) -> tuple[str, ...]:
    try:
        return read_trackers(value)
    except UserError as error:
        raise ValueError(str(error)) from error


Trackers = Annotated[tuple[str, ...], BeforeValidator(_read_field)]
"""The type of a field with trackers."""


def chosen_trackers(
    given: tuple[str, ...] | None, otherwise: tuple[str, ...], environment: Mapping[str, str] = os.environ
) -> tuple[str, ...]:
    """The trackers of a call: its own, otherwise those of the environment or of the benchmark.

    Args:
        given: The trackers that the call names; None if it names none.
        otherwise: Those of the benchmark, or of a plan.
        environment: The environment variables.

    Raises:
        UserError: If the environment names an unknown one, or a package is not installed.
    """
    chosen = given
    if chosen is None and (text := environment.get(VARIABLE, "").strip()):
        try:
            chosen = read_trackers(text)
        except UserError as error:
            raise UserError(f"{VARIABLE}: {error}") from error
    chosen = otherwise if chosen is None else chosen
    _check_installed(chosen)
    return chosen


def _check_installed(names: Sequence[str]) -> None:
    """Check that the packages of trackers are installed.

    Raises:
        UserError: If one is missing; says how to install all that are missing.
    """
    missing = [package for name in names if (package := PACKAGES[name]) is not None and find_spec(package) is None]
    if missing:
        listed = " and ".join(f"'{name}'" for name in missing)
        what = "tracker" if len(missing) == 1 else "trackers"
        extras = ",".join(sorted(missing))
        verb = "needs a package that is" if len(missing) == 1 else "need packages that are"
        raise UserError(f'the {what} {listed} {verb} not installed: pip install "clsuite[{extras}]"')
