"""``clsuite plot``: plot records."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from clsuite.cli.commands.base import PATH, Command, add_word, places_argument

KINDS = ("curve", "matrix", "forgetting", "probes", "loss")


def _arguments(parser: ArgumentParser) -> None:
    places_argument(parser)
    add_word(parser, "--kind", KINDS, help="by default matrix for one record and curve for several")
    parser.add_argument("--curve", type=str, help="for loss: the name of another curve, logged by plugins")
    parser.add_argument("-o", "--out", type=PATH, help="file to write, .svg, .png or .pdf; by default KIND.svg")


def _run(arguments: Namespace) -> int:
    from clsuite.cli.export import make_plot

    make_plot(arguments.records, arguments.kind, arguments.out, arguments.curve)
    return 0


COMMAND = Command(
    "Plot records: accuracy or forgetting over the tasks, accuracy matrices, probes, the loss over the steps.",
    (
        "clsuite plot runs/quickstart -o accuracy.pdf",
        "clsuite plot runs/quickstart/replay runs/quickstart/ncm --kind matrix -o matrices.png",
        "clsuite plot runs/quickstart/replay --kind loss -o loss.png",
    ),
    _arguments,
    _run,
)
