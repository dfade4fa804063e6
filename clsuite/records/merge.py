"""Merges folders of runs from machines without a common disk: finished runs that are missing are copied."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clsuite.config.paths import files_below
from clsuite.errors import UserError
from clsuite.records.atomic import atomic_path
from clsuite.records.order import run_name
from clsuite.records.record import RunRecord
from clsuite.records.state_files import STATES, state_files
from clsuite.records.store import RecordError, read_record
from clsuite.records.verify import why_untrue

BESIDE = (".npz", ".pt", ".svg")
"""Files beside the record of a finished run. They are copied first, because a record without them is not valid."""


@dataclass
class Merged:
    """The result of a merge.

    Attributes:
        added: Records that were copied.
        same: Number of records that were there already, with equal counts.
        other: A line for each that is there with other counts, or that cannot be trusted; it was not copied.
    """

    added: list[Path] = field(default_factory=list)
    same: int = 0
    other: list[str] = field(default_factory=list)


def merge_runs(target: Path, sources: Sequence[Path]) -> Merged:
    """Copy the finished runs of some folders into one; finished runs in it are not changed.

    Args:
        target: The folder that gets the runs; it is created if it does not exist.
        sources: Folders of runs.

    Raises:
        UserError: If a source is not a folder, is the target or inside it, or the target cannot be written.
    """
    for source in sources:
        if not source.is_dir():
            raise UserError(f"'{source}' is not a folder of runs")
        if source.resolve().is_relative_to(target.resolve()) or target.resolve().is_relative_to(source.resolve()):
            raise UserError(f"'{source}' and '{target}' are not two folders: one is in the other")
    merged = Merged()
    for source in sources:
        for path in files_below(source, "seed*.json"):
            _merge(path, target / path.relative_to(source), merged)
    return merged


def _merge(path: Path, place: Path, merged: Merged) -> None:
    try:
        record = read_record(path)
    except RecordError as error:
        merged.other.append(str(error))
        return
    if record.status != "done":
        return
    if problem := why_untrue(record, path):
        merged.other.append(f"the record '{path}' {problem}")
        return
    try:
        there = _finished(place)
    except RecordError as error:
        merged.other.append(f"{_name(record)}: {error}")
        return
    if there is None:
        _copy(path, place)
        merged.added.append(place)
    elif there.key != record.key:
        merged.other.append(f"{_name(record)}: '{place}' is another run than '{path}'")
    elif there.counts == record.counts:
        merged.same += 1
    else:
        merged.other.append(f"{_name(record)}: other counts in '{path}' than in '{place}', though of the same key")


def _name(record: RunRecord) -> str:
    return f"{record.benchmark}, {run_name(record)}"


def _finished(path: Path) -> RunRecord | None:
    """The finished record at a path; None if there is none, or the run is still to be done.

    Raises:
        RecordError: If something else is there.
    """
    if not os.path.lexists(path):
        return None
    record = read_record(path)
    return record if record.status == "done" else None


def _copy(path: Path, place: Path) -> None:
    """Copy a run, its record last, so that a record is only there with all its files."""
    states = [(file, place.with_suffix(STATES) / file.name) for file in state_files(path.with_suffix(STATES))]
    beside = [(path.with_suffix(suffix), place.with_suffix(suffix)) for suffix in (*BESIDE, ".json")]
    for source, target in [*states, *beside]:
        if source.is_file() and not (target.is_file() and filecmp.cmp(source, target, shallow=False)):
            with atomic_path(target) as temporary:
                shutil.copyfile(source, temporary)
