"""The published sources of a row whose method or stream is a file, so that others can repeat the run.

They are published beside the record under fixed names (``KEY.1.py`` for the first plugin, ``KEY.stream.py``), whatever
the record calls them. Nothing here runs them: ``rerun`` does, if its caller names a folder that contains them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from clsuite.errors import UserError
from clsuite.plugin.loading import is_file, read_text
from clsuite.plugin.own_class import recorded_class
from clsuite.plugin.source_hash import Home, local_modules
from clsuite.records import RunRecord
from clsuite.runner.own_classes import own_files
from clsuite.runner.recorded_inputs import restored_plugin
from clsuite.runner.streams import recorded_stream
from clsuite.scenarios import ScenarioSpec
from clsuite.scenarios.spec import FromAvalanche

STREAM = ".stream.py"
CLASS = ".class"
"""Start of the suffixes of published classes: data sets, scenarios, probes, backbones, optimizers, schedules."""
SUFFIX = re.compile(r"\.((class)?[1-9]\d?|stream)\.py")
"""Suffix of a published source after the record's key."""
LARGEST_SOURCE = 200_000
"""Bytes of a source, ten times the largest of the reference methods."""


def due_sources(record: RunRecord) -> dict[str, str]:
    """The files that a row needs and no package provides, by the suffixes under which they are published."""
    files = {
        f".{number}.py": entry.name for number, entry in enumerate(record.plugins, 1) if is_file(entry.name)
    }  # fmt: skip
    files |= {f"{CLASS}{number}.py": use.name for number, (_, use) in enumerate(own_files(record.config), 1)}
    scenario = record.config.get("scenario") or {}
    return {**files, STREAM: str(scenario.get("path"))} if scenario.get("kind") == "avalanche" else files


def find_sources(record: RunRecord, folders: Sequence[Path]) -> dict[str, bytes]:
    """The files that are to be published with a row, by the suffixes of their names; they are read, and not run.

    Args:
        record: A finished record.
        folders: Folders in which files are looked for by the names in the record.

    Raises:
        UserError: If a file is missing, differs from the run's, or cannot be repeated without other files.
    """
    found = {suffix: _text(record, suffix, folders) for suffix in due_sources(record)}
    for suffix, (path, text) in found.items():
        name = due_sources(record)[suffix]
        if own := local_modules(ast.parse(text), Home("", path)):
            raise UserError(
                f"'{name}' imports '{own[0]}', which no installed package brings, so that nobody could repeat the row: "
                "put both into one file, or make a package of them"
            )
        if len(text.encode()) > LARGEST_SOURCE:
            raise UserError(f"the source of '{name}' is longer than {LARGEST_SOURCE} bytes")
    return {suffix: text.encode() for suffix, (_, text) in found.items()}


def _text(record: RunRecord, suffix: str, folders: Sequence[Path]) -> tuple[Path, str]:
    """The file of a source, and the text that was hashed."""
    if suffix == STREAM:
        root = recorded_stream(ScenarioSpec.model_validate(record.config["scenario"]), folders).root
        assert isinstance(root, FromAvalanche)
        return Path(root.path), read_text(Path(root.path))
    if suffix.startswith(CLASS):
        part, use = own_files(record.config)[int(suffix.removeprefix(CLASS).split(".")[0]) - 1]
        path = recorded_class(use, part, folders).path
        assert path is not None
        return path, read_text(path)
    info = restored_plugin(record.plugins[int(suffix.split(".")[1]) - 1], folders)
    assert info.source is not None
    return Path(info.target.rpartition(":")[0]), info.source.text


def published_sources(path: Path) -> dict[str, Path]:
    """The published sources beside a record, by the suffixes of their names."""
    there = sorted(path.parent.glob(f"{path.stem}.*.py"))
    return {suffix: file for file in there if SUFFIX.fullmatch(suffix := file.name.removeprefix(path.stem))}


def sources_within(path: Path, folders: Sequence[Path]) -> dict[str, Path]:
    """The published sources of a record that are in or below one of the folders."""
    places = [folder.resolve() for folder in folders]
    found = published_sources(path).items()
    return {suffix: file for suffix, file in found if any(file.resolve().is_relative_to(place) for place in places)}


def source_notes(record: RunRecord, path: Path, shown: str) -> Iterator[str]:
    """Notes for readers of a row whose code is not in a package.

    Args:
        record: The record.
        path: Its file.
        shown: That file, relative to the leaderboard's folder.
    """
    there: Mapping[str, Path] = published_sources(path)
    for suffix, name in due_sources(record).items():
        if suffix in there:
            yield f"'{name}' is published as {shown.removesuffix('.json')}{suffix}: a rerun runs it, so read it first"
        else:
            yield f"'{name}' is not published: the row cannot be repeated without it"
