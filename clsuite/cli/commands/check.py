"""``clsuite check``: put a plugin through the conformance suite."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from clsuite.cli.commands.base import PATH_OR_NAME, Command, add_options


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "plugin",
        type=PATH_OR_NAME,
        help="./file.py, a name or package.module:Class, with arguments in brackets where it needs any",
    )
    from clsuite.learner.options import TrainingSpec

    add_options(
        parser,
        TrainingSpec,
        head="head that the method needs; linear by default",
        loss="cross-entropy that the method needs; global by default",
    )


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
