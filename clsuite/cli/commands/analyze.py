"""``clsuite analyze``: analyze a finished run by repeating it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from clsuite.cli.commands.base import DEVICE, PATH, Command, add_word, allowed_by, allowing_arguments
from clsuite.errors import UserError

ANALYSES = ("sensitivity",)
FORMATS = (".svg", ".png", ".pdf")


def _arguments(parser: ArgumentParser) -> None:
    add_word(parser, "analysis", ANALYSES, help="sensitivity: how far each module moves between epochs, tasks")
    parser.add_argument("record", type=PATH, help="the record of a finished run, which is repeated and not changed")
    parser.add_argument("--data-root", type=PATH, help="folder of data sets and weights")
    parser.add_argument("--weights", type=PATH, help="the backbone's weights, if they are a file elsewhere")
    parser.add_argument("--device", type=DEVICE, default="auto", help="auto, cpu, cuda, cuda:N or mps")
    allowing_arguments(parser)
    parser.add_argument(
        "-o",
        "--out",
        type=PATH,
        default="sensitivity.svg",
        help="file for the plot, .svg, .png or .pdf; a .csv is written too",
    )


def _run(arguments: Namespace) -> int:
    out = arguments.out
    if out.suffix.lower() not in FORMATS:
        raise UserError(f"--out is '{arguments.out}', but must end in {', '.join(FORMATS)}")
    from clsuite.cli.analyze import analyze_sensitivity

    root, weights = arguments.data_root, arguments.weights
    allowed = allowed_by(arguments)
    analyze_sensitivity(
        arguments.record, out, data_root=root, weights=weights, device=arguments.device, allowed=allowed
    )
    return 0


COMMAND = Command(
    "Analyze a finished run by repeating it: how far its modules move.",
    (
        "clsuite analyze sensitivity runs/quickstart/finetune/seed0-….json",
        "clsuite analyze sensitivity RECORD --data-root data -o moves.pdf",
    ),
    _arguments,
    _run,
)
