"""Files of the published leaderboard: what is written and compared, and which rows there must be."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from clsuite.board.build import build_board
from clsuite.board.confirmed import read_confirmed
from clsuite.board.index import BESIDE, Entry, altered_files, index_bytes, read_index
from clsuite.board.layout import Leaderboard
from clsuite.board.model import Board, Run
from clsuite.board.readme import HEADING, readme
from clsuite.board.site import site_files
from clsuite.board.sources import SUFFIX
from clsuite.board.tables import data_files
from clsuite.config.paths import files_below
from clsuite.errors import MistakesError, UserError, did_you_mean
from clsuite.records import atomic_path

MADE = ("site", "data")
"""Folders with generated files only."""
SHOWN_LINES, WIDTH = 3, 160


def _runs(board: Board) -> Iterator[tuple[str, Run]]:
    """Every published run with its row, ``benchmark/method/seed``."""
    for benchmark in board.benchmarks:
        for row in benchmark.rows:
            yield from ((f"{benchmark.name}/{row.method}/{run.name}", run) for run in row.runs)


def rows_of(board: Board) -> dict[str, str]:
    """The key of each published record by its row, ``benchmark/method/seed``."""
    return {row: run.key for row, run in _runs(board)}


def record_paths(place: Leaderboard, board: Board) -> dict[str, Path]:
    """The file of each row's record, by ``benchmark/method/seed``."""
    return {row: place.folder / run.record for row, run in _runs(board)}


def lost_rows(place: Leaderboard, board: Board) -> list[str]:
    """A line for each row that was published and has no record any more."""
    rows = rows_of(board)
    return [
        f"row '{row}' is lost: its record {entry.key[:12]} is not below {place.records.name}/"
        for row, entry in read_index(place).items()
        if row not in rows
    ]


def published_files(board: Board) -> dict[str, bytes]:
    """All files that are made from the board, by their path below the leaderboard's folder."""
    files = {"README.md": readme(board), **data_files(board)}
    files.update((f"site/{name}", content) for name, content in site_files(board).items())
    return files


def build(place: Leaderboard, drop: Collection[str] = ()) -> tuple[Board, int]:
    """Make and write all files; returns the board and the number of files that changed.

    Args:
        place: The leaderboard.
        drop: Rows that may be removed.

    Raises:
        UserError: If the folder is missing, a record is not valid or not as it was added, a row is lost that is not in
            `drop`, a row in `drop` was never published or still has its record, or files that are not the leaderboard's
            would be deleted; nothing is written then.
    """
    refuse_missing(place)
    with place.locked():
        return _build(place, drop)


def _build(place: Leaderboard, drop: Collection[str]) -> tuple[Board, int]:
    _refuse_foreign_page(place)
    board = build_board(place.records, place.reported, read_confirmed(place.confirmed))
    rows = read_index(place)
    _refuse_unknown(drop, rows)
    _refuse_present(drop, rows_of(board))
    lost = [line for line in lost_rows(place, board) if not any(line.startswith(f"row '{row}' ") for row in drop)]
    if lost:
        raise MistakesError(
            "\n".join([*lost, "Take the records back, or name the rows that are meant to go with --drop."])
        )
    if altered := altered_files(place, record_paths(place, board)):
        raise MistakesError("\n".join(altered))
    files = published_files(board)
    _refuse_others(place, files)
    foreign = _foreign(place, files)
    for path in foreign:
        path.unlink()
    changed = len(foreign)
    for name, content in files.items():
        path = place.folder / name
        if not path.is_file() or path.read_bytes() != content:
            changed += 1
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)
    return board, changed + _write_index(place, {row: entry for row, entry in rows.items() if row not in drop})


def _write_index(place: Leaderboard, rows: Mapping[str, Entry]) -> bool:
    """Write the rows that remain, if some were removed or there is no index yet; returns whether it changed."""
    content = index_bytes(rows)
    if place.index.is_file() and place.index.read_bytes() == content:
        return False
    with atomic_path(place.index) as temporary:
        temporary.write_bytes(content)
    return True


def _foreign(place: Leaderboard, files: Mapping[str, bytes]) -> list[Path]:
    """Files and links in the generated folders that are not generated; a link to a folder is one."""
    there = (path for name in MADE for path in files_below(place.folder / name))
    return [path for path in there if path.relative_to(place.folder).as_posix() not in files]


def _refuse_others(place: Leaderboard, files: Mapping[str, bytes]) -> None:
    """Refuse to clean a folder that holds only files of the user's, and none that is generated."""
    for name in MADE:
        foreign = [path for path in _foreign(place, files) if path.is_relative_to(place.folder / name)]
        if foreign and not any((place.folder / made).is_file() for made in files if made.startswith(f"{name}/")):
            raise UserError(
                f"'{place.folder / name}' holds other things, such as '{foreign[0]}', and build would remove them: "
                "name another folder for the leaderboard with --folder"
            )


def _refuse_foreign_page(place: Leaderboard) -> None:
    """Refuse to overwrite a README of the user's."""
    page = place.folder / "README.md"
    if page.exists() and not (page.is_file() and page.read_bytes().startswith(HEADING.encode())):
        raise UserError(
            f"'{page}' is not a leaderboard's page, and build would write over it: name another with --folder"
        )


def _refuse_unknown(drop: Iterable[str], rows: Collection[str]) -> None:
    for row in drop:
        if row not in rows:
            raise did_you_mean("row in --drop:", row, rows)


def _refuse_present(drop: Iterable[str], rows: Mapping[str, str]) -> None:
    for row in drop:
        if row in rows:
            raise UserError(f"row '{row}' in --drop is still there: take its record {rows[row][:12]} away first")


def refuse_missing(place: Leaderboard) -> None:
    """Make sure that the leaderboard's folder is there.

    Raises:
        UserError: If it is not.
    """
    if not place.folder.is_dir():
        raise UserError(
            f"there is no folder '{place.folder}': name the leaderboard's with --folder, "
            "or create one with clsuite leaderboard add RUNS"
        )
    if not (place.records.is_dir() or place.index.exists() or place.reported.exists()):
        raise UserError(
            f"'{place.folder}' is not a leaderboard: it has no {place.records.name}/. Name another with --folder, "
            "or create one with clsuite leaderboard add RUNS"
        )


def check(place: Leaderboard) -> list[str]:
    """Make all files again in memory; returns a line for each published file that differs and each lost row.

    Raises:
        UserError: If a record is not valid.
    """
    refuse_missing(place)
    board = build_board(place.records, place.reported, read_confirmed(place.confirmed))
    files = published_files(board)
    problems = lost_rows(place, board) + altered_files(place, record_paths(place, board))
    for name, content in files.items():
        path = place.folder / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif (there := path.read_bytes()) != content:
            problems.append("\n".join([f"{name} differs from what the records give:", *_difference(there, content)]))
    problems += [f"{path.relative_to(place.folder)}: nothing makes it" for path in _foreign(place, files)]
    return problems + [f"{path.relative_to(place.folder)}: it belongs to no record" for path in _stray(place, board)]


def _stray(place: Leaderboard, board: Board) -> list[Path]:
    """Files among the records that are neither a record nor belong to one."""
    keys = set(rows_of(board).values())
    return [
        path
        for path in files_below(place.records)
        if not (path.name.split(".")[0] in keys and _stands_beside(path.name[64:]))
    ]


def _stands_beside(ending: str) -> bool:
    return ending in BESIDE.values() or SUFFIX.fullmatch(ending) is not None


def _difference(there: bytes, made: bytes) -> Iterator[str]:
    """The first lines that differ, published and made, cut around the place where they differ."""
    old, new = (text.decode("utf-8", "replace").splitlines() for text in (there, made))
    same = _common(old, new)
    ends = _common(old[same:][::-1], new[same:][::-1])
    pairs = list(zip_longest(old[same : len(old) - ends], new[same : len(new) - ends], fillvalue=""))
    for number, (line, other) in enumerate(pairs[:SHOWN_LINES], same + 1):
        start = max(0, _common(line, other) - WIDTH // 4)
        yield f"  line {number}, published: {_cut(line, start)}"
        yield f"  line {number}, made:      {_cut(other, start)}"
    if len(pairs) > SHOWN_LINES:
        yield f"  and {len(pairs) - SHOWN_LINES} lines more"


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """Number of equal entries at the beginning."""
    pairs = zip(first, second, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


def _cut(line: str, start: int) -> str:
    text = ("..." if start else "") + line[start : start + WIDTH]
    return text + ("..." if start + WIDTH < len(line) else "")
