"""``clsuite cache``: show, check and delete the contents of the cache folder."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from clsuite.cli.commands.base import ArgumentType, Command, add_word

ACTIONS = ("show", "verify", "clear")
KINDS = ("tables", "features")


def _age(text: str) -> float:
    from clsuite.data.kept import read_age

    return read_age(text)


def _size(text: str) -> int:
    from clsuite.config.feature_store import read_size

    return read_size(text)


def _arguments(parser: ArgumentParser) -> None:
    add_word(
        parser,
        "action",
        ACTIONS,
        help="show: list the contents with size and last use; verify: read everything and name what is damaged; "
        "clear: delete, which costs nothing but the time to compute it again",
    )
    add_word(parser, "--kind", KINDS, help="only tables of decoded images, or only features that runs share")
    parser.add_argument(
        "--older-than",
        type=ArgumentType("age", _age),
        metavar="AGE",
        help="clear: only what was not used for this time",
    )
    parser.add_argument(
        "--down-to", type=ArgumentType("size", _size), metavar="SIZE",
        help="clear: only features, those not used for the longest time first, down to this size",
    )  # fmt: skip


def _run(arguments: Namespace) -> int:
    from clsuite.cli.cache import run_cache

    return run_cache(arguments.action, arguments.kind, arguments.older_than, arguments.down_to)


COMMAND = Command(
    "Show, check or delete the contents of the cache folder: decoded images, and features that runs share.",
    (
        "clsuite cache show",
        "clsuite cache verify --kind features",
        "clsuite cache clear --older-than 30d",
        "clsuite cache clear --kind features",
        "clsuite cache clear --down-to 5GB",
    ),
    _arguments,
    _run,
)
