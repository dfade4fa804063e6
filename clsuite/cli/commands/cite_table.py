"""``clsuite cite-table``: a table of results that a paper can cite."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from clsuite.cli.commands.base import PATH, Command, add_word, places_argument

FORMATS = ("latex", "markdown", "csv")


def _arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    places_argument(parser)
    add("--methods", type=str, help="methods, comma-separated, in this order: names or titles; all by default")
    add("--benchmarks", type=str, help="benchmarks, comma-separated, in this order; all by default")
    add(
        "--columns",
        type=str,
        help="columns, comma-separated, by their names in the first line of a summary.csv; by default the accuracy by "
        "which a board is ranked, and the average incremental accuracy",
    )
    add_word(parser, "--format", FORMATS, default="latex", help="latex (booktabs), markdown or csv")
    add("-o", "--out", type=PATH, help="file to write, with the references in a .bib file beside it")


def _run(arguments: Namespace) -> int:
    from clsuite.cli.cite_table import cite_table
    from clsuite.runner.methods import split_outside

    methods, benchmarks, columns = (
        [part.strip() for part in split_outside(text or "", ",") if part.strip()]
        for text in (arguments.methods, arguments.benchmarks, arguments.columns)
    )
    cite_table(arguments.records, arguments.format, methods, benchmarks, columns, arguments.out)
    return 0


COMMAND = Command(
    "Make a table for a paper, with BibTeX of all that is in it, and the paragraph that states the protocol.",
    (
        "clsuite cite-table leaderboard --benchmarks caltech101,pacs --methods slca,lora,der++,finetune -o table.tex",
        "clsuite cite-table runs/quickstart --format markdown",
    ),
    _arguments,
    _run,
)
