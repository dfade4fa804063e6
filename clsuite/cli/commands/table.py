"""``clsuite table``: tables of records."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from clsuite.cli.commands.base import PATH, Command, add_word, places_argument

FORMATS = ("text", "csv", "markdown", "latex")


def _arguments(parser: ArgumentParser) -> None:
    places_argument(parser)
    add_word(parser, "--format", FORMATS, default="text", help="text, csv, markdown or latex (booktabs)")
    parser.add_argument(
        "--columns",
        type=str,
        help="columns to show, comma-separated, by their names in the first line of a summary.csv, most important "
        "first; or all. By default those that fit the terminal",
    )
    add_word(
        parser, "--rank-by", ("mean", "worst"), default="mean",
        help="best first by the mean of the final accuracy, or by its value in the worst class order",
    )  # fmt: skip
    parser.add_argument("-o", "--out", type=PATH, help="file to write; by default it is printed")


def _run(arguments: Namespace) -> int:
    from clsuite.cli.export import make_table

    columns = [name.strip() for name in (arguments.columns or "").split(",") if name.strip()]
    places = arguments.records
    make_table(places, arguments.format, columns, arguments.out, arguments.rank_by)
    return 0


COMMAND = Command(
    "Print tables of records for the terminal, or as CSV, Markdown or LaTeX.",
    (
        "clsuite table runs/quickstart --format latex -o table.tex",
        "clsuite table runs/quickstart --rank-by worst",
        "clsuite table runs --format csv --columns final_accuracy_macro,stored_bytes",
    ),
    _arguments,
    _run,
)
