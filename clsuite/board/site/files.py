"""Makes all files of the page from the board, as a pure function."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from clsuite.board.model import Benchmark, Board, Reported, Row
from clsuite.board.site.addresses import address
from clsuite.board.site.columns import extra_columns, first_columns, table_columns, with_worst_order
from clsuite.board.site.details import detail_key, row_details, script, table_data
from clsuite.board.site.pareto import main_plot, pareto_plots
from clsuite.board.site.standing import standings
from clsuite.board.site.text import (
    ONE_SEED,
    bound_text,
    direction_text,
    half_text,
    hint_text,
    kinds_text,
    rank_text,
    same_text,
    source_text,
    stale_text,
    status_text,
    unit_text,
    value_text,
)
from clsuite.metrics import NOTATION, Column

AT_ONCE = 100
STATIC = ("site.css", "theme.js", "site.js", "details.js")


def site_files(board: Board) -> dict[str, bytes]:
    """Make the page.

    Args:
        board: All published results.

    Returns:
        The content of each file by its path below the folder of the page, with ``/`` between folders.
    """
    files = dict(_static())
    files["index.html"] = _page("index.html", "", board=board)
    files["reported.html"] = _page("reported.html", "", board=board, streams=_by_stream(board))
    methods = _by_method(board)
    files["methods/index.html"] = _page("methods.html", "../", board=board, methods=methods)
    for benchmark in board.benchmarks:
        files.update(_board_files(board, benchmark))
    for name, places in methods.items():
        files[f"methods/{address(name)}.html"] = _method(board, name, places)
    return files


def _static() -> Iterator[tuple[str, bytes]]:
    folder = resources.files("clsuite.board.site") / "static"
    for name in STATIC:
        yield f"static/{name}", (folder / name).read_bytes()


def _board_files(board: Board, benchmark: Benchmark) -> Iterator[tuple[str, bytes]]:
    shown = with_worst_order(benchmark)
    columns, extra = table_columns(shown), extra_columns(shown)
    lines = [_line(board, shown, row, columns, extra) for row in shown.rows]
    where = f"boards/{address(benchmark.name)}"
    yield f"{where}.js", script("table", table_data(shown, columns, lines[AT_ONCE:]))
    yield (
        f"{where}.html",
        _page(
            "board.html", "../", board=board, benchmark=benchmark, columns=columns,
            lines=[Markup(line) for line in lines[:AT_ONCE]],  # made by a template that escapes
            top=main_plot(benchmark), plots=pareto_plots(benchmark), extra=extra, headline=columns[0],
            choices=_choices(benchmark), at_once=AT_ONCE,
        ),
    )  # fmt: skip
    for row in benchmark.rows:
        key = detail_key(benchmark.name, row.method)
        yield f"details/{key}.js", script("detail", key, row_details(board, benchmark, row))


def _line(board: Board, benchmark: Benchmark, row: Row, columns: list[Column], extra: Collection[str]) -> str:
    cells = [(row.figures.get(column.name), column) for column in columns]
    return _environment().get_template("row.html").render(
        board=board, row=row, cells=cells, extra=extra, key=detail_key(benchmark.name, row.method),
        id=f"row-{address(row.method)}",
    )  # fmt: skip


def _choices(benchmark: Benchmark) -> dict[str, list[Any]]:
    tags = [row.tags for row in benchmark.rows]
    return {
        "backbone": sorted({tag.backbone for tag in tags}),
        "pet": sorted({kind for tag in tags for kind in tag.pet}),
        "year": sorted({year for tag in tags for year in tag.years}),
    }


Places = list[tuple[Benchmark, Row]]


def _by_method(board: Board) -> dict[str, Places]:
    methods: dict[str, Places] = {}
    for benchmark in board.benchmarks:
        for row in benchmark.rows:
            methods.setdefault(row.method, []).append((benchmark, row))
    return dict(sorted(methods.items()))


def _by_stream(board: Board) -> dict[str, tuple[list[str], list[Reported]]]:
    """For each stream the names of its figures and its entries, in the order of the file."""
    streams: dict[str, list[Reported]] = {}
    for entry in board.reported:
        streams.setdefault(entry.stream, []).append(entry)
    return {
        stream: (list(dict.fromkeys(name for entry in entries for name in entry.figures)), entries)
        for stream, entries in streams.items()
    }


def _method(board: Board, name: str, places: Places) -> bytes:
    columns = {column.name: column for benchmark, _ in places for column in first_columns(benchmark)}
    plugins = {(p.name, p.summary, *p.papers): p for _, row in places for p in row.plugins}
    reported = [entry for entry in board.reported if _plain_name(entry.method) == _plain_name(name)]
    return _page(
        "method.html", "../", board=board, name=name, title=places[0][1].title, places=places,
        columns=list(columns.values()), plugins=list(plugins.values()), reported=reported,
        standings=standings(board, name),
    )  # fmt: skip


def _plain_name(method: str) -> str:
    """A method's name without variants and punctuation, which papers and records write differently."""
    return re.sub(r"[\W_]", "", re.split(r"[,(]", method)[0].casefold())


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("clsuite.board.site"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, auto_reload=False,
    )  # fmt: skip
    environment.globals.update(
        value_text=value_text, half_text=half_text, rank_text=rank_text, status_text=status_text,
        stale_text=stale_text,
        kinds_text=kinds_text, hint_text=hint_text, source_text=source_text, unit_text=unit_text, bound_text=bound_text,
        direction_text=direction_text, notation=NOTATION, one_seed=ONE_SEED, address=address,
        same_text=same_text, detail_key=detail_key,
    )  # fmt: skip
    return environment


def _page(template: str, root: str, **values: Any) -> bytes:
    text = _environment().get_template(template).render(root=root, **values)
    return text.encode("utf-8", "replace")
