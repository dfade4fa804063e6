"""The index of a leaderboard: which rows there must be, and the hashes of their files when they were added."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from clsuite.board.layout import Leaderboard
from clsuite.board.sources import SUFFIX, published_sources
from clsuite.errors import UserError
from clsuite.records.canonical import sha256_of_file
from clsuite.regular_files import read_text

INDEX_VERSION = 2
"""Version 1 held the key of each row, and no digests."""
BESIDE = {"record": ".json", "predictions": ".npz", "rerun": ".rerun.json"}
"""Suffixes of a record's files after its key."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Entry(BaseModel):
    """What the index holds of a published row.

    Attributes:
        key: Key of its record.
        record: sha256 of the record's file as ``add`` wrote it; None in an index of version 1.
        predictions: sha256 of the predictions' file as ``add`` wrote it.
        rerun: sha256 of the report of its rerun as ``rerun`` wrote it; None if there is none.
        sources: sha256 of each source file that is published with it, by the suffix of its name; None if there is none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: Digest
    record: Digest | None = None
    predictions: Digest | None = None
    rerun: Digest | None = None
    sources: dict[Annotated[str, Field(pattern=rf"^{SUFFIX.pattern}$")], Digest] | None = None


def read_index(place: Leaderboard) -> dict[str, Entry]:
    """The rows that were published, by ``benchmark/method/seed``.

    Raises:
        UserError: If the file is not what `index_bytes` makes, or is missing although files made with it are there.
    """
    if not place.index.exists():
        if (place.folder / "data" / "board.json").exists():
            raise UserError(f"'{place.index}' is gone: restore it from the history, or rows could be lost silently")
        return {}
    try:
        content = json.loads(read_text(place.index))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"'{place.index}' cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        rows = TypeAdapter(dict[str, Entry]).validate_python(_rows_in(content))
    except ValidationError:
        rows = None
    if rows is None or not all(row.count("/") >= 2 for row in rows):
        raise UserError(f"'{place.index}' does not hold the key of each row: restore it from the history")
    return rows


def _rows_in(content: Any) -> Any:
    """The entries in a file of this version or the previous one."""
    if isinstance(content, dict) and content.keys() == {"version", "rows"}:
        return content["rows"] if content["version"] == INDEX_VERSION else None
    if isinstance(content, dict) and all(isinstance(key, str) for key in content.values()):
        return {row: {"key": key} for row, key in content.items()}
    return None


def index_bytes(rows: Mapping[str, Entry]) -> bytes:
    """The file of the published rows."""
    content = {row: entry.model_dump(exclude_none=True) for row, entry in sorted(rows.items())}
    text = json.dumps({"version": INDEX_VERSION, "rows": content}, indent=1, ensure_ascii=False)
    return (text + "\n").encode("utf-8", "replace")


def digest_of(record: Path, part: str) -> str | None:
    """sha256 of one of a record's files; None if there is none.

    Args:
        record: The record's file.
        part: Which of its files, a key of `BESIDE`.
    """
    path = record.with_suffix(BESIDE[part])
    return sha256_of_file(path) if path.is_file() else None


def why_untrusted(entry: Entry | None, record: Path) -> str:
    """Why a published record and its predictions are not those that ``add`` published; empty if they are."""
    if entry is None:
        return "was never added"
    if record.stem != entry.key or any(
        digest_of(record, part) != getattr(entry, part) for part in ("record", "predictions")
    ):
        return "was edited since it was added"
    return ""


def has_digests(rows: Mapping[str, Entry]) -> bool:
    """Whether the index is of a version that keeps digests."""
    return not rows or any(entry.record for entry in rows.values())


def altered_files(place: Leaderboard, present: Mapping[str, Path]) -> list[str]:
    """A line for each file of a row that was changed since ``add`` or ``rerun`` wrote it.

    Args:
        place: The leaderboard.
        present: The record of each row that is there.
    """
    rows = read_index(place)
    if not has_digests(rows):
        again = f"clsuite leaderboard add --folder {place.folder} {place.records} --replace"
        return [f"'{place.index}' is of an earlier version, without digests: take the records in again: {again}"]
    return [line for row, record in present.items() for line in _altered(place, row, record, rows.get(row))]


def _altered(place: Leaderboard, row: str, record: Path, entry: Entry | None) -> Iterator[str]:
    where, add = record.relative_to(place.folder), f"clsuite leaderboard add --folder {place.folder}"
    if entry is None:
        yield f"{where}: it was never added: take it away, or take it in: {add} {record}"
        return
    if record.stem != entry.key:
        there = f"{where}: another record was added as row '{row}' ({entry.key[:12]})"
        yield f"{there}: take that one back from the history, or take this one in: {add} {record} --replace"
        return
    for part in ("record", "predictions"):
        if digest_of(record, part) != getattr(entry, part):
            problem = f"{where.with_suffix(BESIDE[part])}: it was edited since it was added"
            yield f"{problem}: restore it from the history, or add the run again: {add} RUN --replace"
    sources, listed = published_sources(record), entry.sources or {}
    for suffix in sorted({*sources, *listed}):
        known, path = listed.get(suffix), sources.get(suffix)
        if path is None or sha256_of_file(path) != known:
            problem = f"{where.with_suffix('')}{suffix}: it is {'not the source that add wrote' if path else 'gone'}"
            yield f"{problem}: restore it from the history, or add the run again: {add} RUN --replace"
    account = digest_of(record, "rerun")
    if account != entry.rerun:
        problem = f"{where.with_suffix(BESIDE['rerun'])}: it is {'not what rerun wrote' if account else 'gone'}"
        again = f"clsuite leaderboard rerun --folder {place.folder} '{row}'"
        yield f"{problem}: restore it from the history, or repeat the row: {again}"
