"""Lists of images: CSV, JSON or JSON lines with a path and a label each, optionally with a split and a domain."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from clsuite.data.folder import TEST_NAMES, TRAIN_NAMES, find_part
from clsuite.data.manifest import Sample
from clsuite.data.naming import text_lines
from clsuite.errors import UserError, shortened, warn_of

PATHS = ("path", "file_name")
"""Column names for the file: clsuite's own, and that of Hugging Face's image folders."""
ENDINGS = (".csv", ".json", ".jsonl")
OWN_LISTS = tuple(f"files{ending}" for ending in ENDINGS)
METADATA = ("metadata.csv", "metadata.jsonl")
SEPARATORS = ",;\t"


class Entry(NamedTuple):
    """An entry of a list: its position, for error messages, and its columns."""

    where: str
    columns: Mapping[str, Any]


class _Named(NamedTuple):
    """An image whose part is not known yet; `split` is None if the list has no such column."""

    where: str
    path: str
    label: str
    split: str | None
    domain: str


def find_list(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The list in a folder that has one of some names."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def find_metadata(root: Path) -> list[Path]:
    """The metadata files of a Hugging Face image folder: one for all, or one in each part."""
    whole = find_list(root, METADATA)
    if whole is not None:
        return [whole]
    parts = [find_part(root, TRAIN_NAMES), find_part(root, TEST_NAMES)]
    found = [find_list(root / part, METADATA) for part in parts if part is not None]
    return [path for path in found if path is not None]


def read_lists(root: Path, paths: list[Path]) -> tuple[list[Sample], bool]:
    """Read the images in lists, in their order.

    Args:
        root: Folder that the paths of samples are relative to.
        paths: The lists; the paths in each are relative to its own folder.

    Returns:
        The samples, and whether they have a test part. This is so if the lists have the column ``split``, or if every
        path lies in a train or a test folder.

    Raises:
        UserError: If a list cannot be read, or an entry is invalid; names the line.
    """
    named = [item for path in paths for item in _named(root, path)]
    if not named:
        raise UserError(f"'{paths[0]}' lists no images")
    _refuse_twice(named)
    with_split = [item for item in named if item.split is not None]
    if with_split and len(with_split) < len(named):
        without = next(item for item in named if item.split is None)
        raise UserError(f"{without.where} has no split, but others have: it must be train or test")
    splits = [_part(item) if with_split else _part_of_path(item.path) for item in named]
    if None in splits:
        return [Sample(item.path, item.label, False, item.domain) for item in named], False
    chosen = next((name for name in TEST_NAMES if name in splits), None)
    _warn_of_unused(paths[0], {str(split) for split in splits} - {"train", str(chosen)})
    samples = [
        Sample(item.path, item.label, split == chosen, item.domain)
        for item, split in zip(named, splits, strict=True)
        if split in ("train", chosen)
    ]
    return samples, chosen is not None


def _warn_of_unused(path: Path, unused: set[str]) -> None:
    if unused:
        warn_of(f"'{path}' has the parts {', '.join(sorted(unused))} besides train and test: they are left out")


def _named(root: Path, path: Path) -> Iterator[_Named]:
    folder = path.parent
    for entry in _entries(path):
        file = next((entry.columns[name] for name in PATHS if entry.columns.get(name) not in (None, "")), None)
        if not isinstance(file, str):
            raise UserError(f"{entry.where} has no {' or '.join(PATHS)}: each line names the file of an image")
        if not os.path.isfile(folder / file) and os.path.isfile(folder / file.replace("\\", "/")):
            file = file.replace("\\", "/")
        if not os.path.isfile(folder / file):  # of a name that no file can have too, where pathlib raises
            raise UserError(f"{entry.where} names '{shortened(file)}', but there is no such file in '{folder}'")
        below = folder.relative_to(root) / file
        split = None if "split" not in entry.columns else _text(entry, "split")
        domain = _text(entry, "domain") if entry.columns.get("domain") not in (None, "") else ""
        yield _Named(entry.where, below.as_posix(), _text(entry, "label"), split, domain)


def _text(entry: Entry, name: str) -> str:
    value = entry.columns.get(name)
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not text:
        others = [shortened(item) for item, cell in entry.columns.items() if cell not in (None, "") and item != name]
        has = f"; it has {', '.join(others)}" if others else ""
        raise UserError(f"{entry.where} has no '{name}', which must be text or an integer{has}")
    return text


def _refuse_twice(named: list[_Named]) -> None:
    first: dict[str, _Named] = {}
    for item in named:
        other = first.setdefault(item.path, item)
        if other is not item:
            raise UserError(f"{item.where} names '{shortened(item.path)}' again, as {other.where} does: remove one")


def _part(item: _Named) -> str:
    split = str(item.split).lower()
    split = {"training": "train", "testing": "test"}.get(split, split)
    if split not in (*TRAIN_NAMES, *TEST_NAMES):
        known = ", ".join((*TRAIN_NAMES, *TEST_NAMES))
        raise UserError(f"{item.where} has the split '{shortened(str(item.split))}', but it must be one of {known}")
    return split


def _part_of_path(path: str) -> str | None:
    first = path.partition("/")[0].lower()
    return first if first in (*TRAIN_NAMES, *TEST_NAMES) else None


def _entries(path: Path) -> Iterator[Entry]:
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"'{path}' is not a list of images: it must be a folder, or end in {', '.join(ENDINGS)}")
    read = {".csv": _csv, ".json": _json, ".jsonl": _json_lines}[path.suffix.lower()]
    yield from read(path)


def _csv(path: Path) -> Iterator[Entry]:
    lines = text_lines(path)
    if not lines:
        raise UserError(f"'{path}' is empty: its first line names the columns, such as path,label,split,domain")
    separator = max(SEPARATORS, key=lines[0].count)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    try:
        names = [name.strip().lower() for name in next(reader)]
        missing = [wanted for wanted in (PATHS, ("label",)) if not {*wanted} & {*names}]
        if missing:
            raise UserError(
                f"'{path}', line 1 has no column {' or '.join(missing[0])}: it names the columns, such as "
                "path,label,split,domain"
            )
        for cells in reader:
            where = f"'{path}', line {reader.line_num}"
            if len(cells) > len(names):
                raise UserError(
                    f"{where} has {len(cells)} columns, but line 1 names {len(names)}: quote texts with commas"
                )
            if any(cells):
                yield Entry(where, dict(zip(names, cells, strict=False)))
    except csv.Error as error:
        raise UserError(f"'{path}', line {reader.line_num} is not CSV: {error}") from error


def _json(path: Path) -> Iterator[Entry]:
    content = _parsed("\n".join(text_lines(path)), path)
    if not isinstance(content, list):
        raise UserError(f'\'{path}\' must be a list of entries such as {{"path": "a.png", "label": "cat"}}')
    for number, entry in enumerate(content, 1):
        yield _entry(entry, f"'{path}', entry {number}")


def _json_lines(path: Path) -> Iterator[Entry]:
    for number, line in enumerate(text_lines(path), 1):
        if line.strip():
            yield _entry(_parsed(line, path, number), f"'{path}', line {number}")


def _parsed(text: str, path: Path, first: int = 1) -> Any:
    """Parse JSON text that begins at a given line of a file."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"'{path}', line {first + error.lineno - 1} is not JSON: {error.msg}") from error
    except (RecursionError, ValueError) as error:
        raise UserError(f"'{path}', line {first} is not JSON that can be read: {error}") from error


def _entry(content: Any, where: str) -> Entry:
    if not isinstance(content, dict):
        raise UserError(f'{where} must be an object such as {{"path": "a.png", "label": "cat"}}')
    return Entry(where, {str(name).lower(): value for name, value in content.items()})
