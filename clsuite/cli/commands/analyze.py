"""``clsuite analyze``: look into finished runs by doing them again under watch, or by their saved models."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from clsuite.cli.commands.base import DEVICE, PATH, Command, add_word, allowed_by, allowing_arguments
from clsuite.errors import UserError

ANALYSES = ("sensitivity", "distance")
FORMATS = (".svg", ".png", ".pdf")


def _arguments(parser: ArgumentParser) -> None:
    add_word(
        parser,
        "analysis",
        ANALYSES,
        help="sensitivity: how far each module moves between epochs, tasks; distance: how far saved models are apart",
    )
    parser.add_argument(
        "records",
        type=PATH,
        nargs="+",
        metavar="RECORD",
        help="records of finished runs; for the sensitivity they are learned again, and not changed; for the distance "
        "their models lie beside them (bench --save-model)",
    )
    parser.add_argument("--data-root", type=PATH, help="where data sets and weights are looked for")
    parser.add_argument("--weights", type=PATH, help="the backbone's weights, where they are a file found nowhere else")
    parser.add_argument("--device", type=DEVICE, default="auto", help="auto, cpu, cuda, cuda:N or mps")
    allowing_arguments(parser)
    parser.add_argument(
        "-o", "--out", type=PATH, help="plot, .svg, .png or .pdf, and a .csv beside it; by default ANALYSIS.svg"
    )


def _run(arguments: Namespace) -> int:
    out = arguments.out or Path(f"{arguments.analysis}.svg")
    if out.suffix.lower() not in FORMATS:
        raise UserError(f"--out is '{out}', but must end in {', '.join(FORMATS)}")
    from clsuite.cli.analyze import analyze_distance, analyze_sensitivity

    if arguments.analysis == "distance":
        analyze_distance(arguments.records, out)
        return 0
    root, weights = arguments.data_root, arguments.weights
    allowed = allowed_by(arguments)
    analyze_sensitivity(
        arguments.records, out, data_root=root, weights=weights, device=arguments.device, allowed=allowed
    )
    return 0


COMMAND = Command(
    "Analyze finished runs: how far their modules move, or how far their models are apart.",
    (
        "clsuite analyze sensitivity runs/quickstart/finetune/seed0-….json",
        "clsuite analyze sensitivity runs/quickstart/finetune/*.json -o three_seeds.pdf",
        "clsuite analyze distance runs/quickstart/finetune/*.json",
        "clsuite analyze sensitivity RECORD --data-root data -o moves.pdf",
    ),
    _arguments,
    _run,
)
