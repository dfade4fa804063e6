"""``clsuite new``: begin a plugin."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from clsuite.cli.commands.base import PATH, Command, add_word

KINDS = ("loss", "buffer", "peft", "weights", "predict")


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", type=str, help="name of the method, such as my_method")
    add_word(
        parser,
        "--kind",
        KINDS,
        default="loss",
        help="loss: a term of the loss; buffer: exemplars in the batch; peft: a small module in a frozen backbone; "
        "weights: other weights after each task; predict: an answer in place of the head's",
    )
    parser.add_argument("--out", type=PATH, default=".", help="folder to write to")


def _run(given: Namespace) -> int:
    from clsuite.cli.new import write_new

    write_new(given.name, given.kind, given.out)
    return 0


COMMAND = Command(
    "Begin a method: one short plugin file that runs as it is, and its test.",
    ("clsuite new my_method", "clsuite new my_method --kind buffer"),
    _arguments,
    _run,
)
