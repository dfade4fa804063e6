"""``clsuite check``: put a plugin through the conformance suite."""

from __future__ import annotations

from typing import Literal

from jsonargparse import ArgumentParser, Namespace

from clsuite.cli.commands.base import PATH_OR_NAME, Command

HeadKind = Literal["linear", "cosine", "zero_shot"]
LossKind = Literal["global", "local"]


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "plugin",
        type=PATH_OR_NAME,
        help="./file.py, a name or package.module:Class, with arguments in brackets where it needs any",
    )
    parser.add_argument("--head", type=HeadKind, help="head that the method needs; linear by default")
    parser.add_argument("--loss", type=LossKind, help="cross-entropy that the method needs; global by default")


def _run(given: Namespace) -> int:
    from clsuite.cli.check import run_check

    training = {"head": given.head, "loss": given.loss}
    return run_check(given.plugin, {key: value for key, value in training.items() if value is not None})


COMMAND = Command(
    "Check a plugin: explains what it does wrong, in which line, and the fix. Exit status 1 where anything is found.",
    (
        "clsuite check ./my_method.py",
        'clsuite check "replay(capacity=50)"',
        "clsuite check my_package.my_module:MyMethod",
    ),
    _arguments,
    _run,
)
