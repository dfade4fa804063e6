"""Finds finished records from what users name: a record, a folder of runs, or methods in a folder of runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clsuite.config.paths import files_below
from clsuite.errors import InputWarning, UserError, did_you_mean, warn_of
from clsuite.records import RunRecord, read_record, why_untrue
from clsuite.records.order import run_name
from clsuite.report.consistency import ConsistencyCheck
from clsuite.report.newest import newest_runs
from clsuite.trackers.journal import FOLDER


@dataclass(frozen=True)
class Gathered:
    """The records found.

    Attributes:
        records: The finished records by path, without duplicates.
        unfinished: A line for each unfinished run.
        left_out: A line for each kind of difference because of which older runs are omitted.
    """

    records: dict[Path, RunRecord]
    unfinished: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def gather(places: Sequence[Path]) -> Gathered:
    """Read the records in files and folders; trials of ``clsuite tune`` only if they are named themselves.

    A record that was modified after its run is omitted, with a warning.

    Args:
        places: Records, or folders with records at any depth.

    Raises:
        UserError: If a place does not exist, a file is not a record, or there is no finished record.
    """
    records: dict[Path, RunRecord] = {}
    unfinished, untrue, keys = [], [], set()
    for path in dict.fromkeys(path for place in places for path in record_files(place)):
        record = read_record(path)
        if "judged_on" in record.config and path not in places:
            continue
        if record.status != "done":
            unfinished.append(f"{record.status}: {run_name(record)} ({path})")
        elif problem := why_untrue(record, path):
            untrue.append(f"{run_name(record)}: the record '{path}' {problem}")
        elif record.key not in keys:
            keys.add(record.key)
            records[path] = record
    if not records:
        detail = f"; {[*untrue, *unfinished][0]}" if untrue or unfinished else ""
        named = ", ".join(f"'{place}'" for place in places)
        raise UserError(f"no finished record in {named}{detail}")
    for line in untrue:
        warn_of(f"left out, {line}", InputWarning)
    return Gathered(records, tuple(unfinished))


def record_files(place: Path) -> list[Path]:
    """The files that may be records: the file itself, or those in a folder; of a leaderboard, the published ones.

    Other files of a record, such as its predictions, are skipped, because patterns (``seed0*``) match them too.

    Raises:
        UserError: If the place does not exist.
    """
    if place.is_dir():
        published = place / "records"
        inside = published if (place / "rows.json").is_file() and published.is_dir() else place
        found = (path for path in files_below(inside, "*.json") if not path.name.startswith("."))
        return [path for path in found if not _beside(path) and not _of_trackers(path)]
    if not place.exists():
        raise UserError(f"'{place}' is neither a record nor a folder of runs")
    return [] if _beside(place) else [place]


def _beside(path: Path) -> bool:
    """Whether a file is the result of a record's rerun, or another file that belongs to a record."""
    record = path.with_suffix(".json")
    return path.name.endswith(".rerun.json") or (record != path and record.is_file())


def _of_trackers(path: Path) -> bool:
    """Whether a file is in the folder of a run's trackers, which write JSON too."""
    return any(parent.suffix == FOLDER for parent in path.parents)


def newest_of(found: Gathered, where: str) -> Gathered:
    """The records without older runs of the same method and seed; see `newest_runs`.

    Raises:
        UserError: If the rest cannot be shown in one table, for example because of different probes.
    """
    records, notes = newest_runs(found.records)
    alike = ConsistencyCheck()
    for path, record in records.items():
        if problem := alike.problem(record, str(path)):
            raise UserError(
                f"{where} holds runs that do not fit together: '{path}': {problem}; move one away or name the records"
            )
    return replace(found, records=records, left_out=tuple(notes))


def one_method(place: Path) -> Gathered:
    """The finished records of a record file, or of a folder with the runs of one method on one benchmark.

    Raises:
        UserError: As `gather`, and if the folder holds several methods or benchmarks.
    """
    return _single(gather([place]), f"'{place}'")


def method_below(runs: Path, method: str) -> Gathered:
    """The finished records of a method in a folder of runs.

    Args:
        runs: The folder.
        method: Its name in tables; arguments and ``.py`` may be omitted if the name is still unique, so that ``er_ace``
            finds ``er_ace.py(capacity=50)``, and blanks and quotation marks be written otherwise: ``pet(kind=lora)``.

    Raises:
        UserError: As `one_method`, and if there is no such method.
    """
    found = gather([runs])
    names = {record.method for record in found.records.values()}
    alike = [name for name in names if _spelled(name) == _spelled(method)]
    called = alike or [name for name in names if _bare(name) == method]
    wanted = method if method in names or len(called) != 1 else called[0]
    chosen = {path: record for path, record in found.records.items() if record.method == wanted}
    if not chosen:
        raise did_you_mean(f"method below '{runs}':", method, names)
    return _single(replace(found, records=chosen), f"'{runs}'")


def _bare(name: str) -> str:
    """A method's name without arguments, or without the extension of a file."""
    return re.sub(r"\(.*\)$", "", name).removesuffix(".py")


def _spelled(name: str) -> str:
    """A method's name as far as it tells methods apart: quotation marks and blanks are a matter of taste."""
    return re.sub(r"[\s'\"]", "", name)


def _single(found: Gathered, where: str) -> Gathered:
    methods = sorted({record.method for record in found.records.values()})
    if len(methods) > 1:
        raise UserError(f"{where} holds {len(methods)} methods ({', '.join(methods)}): name one, with --runs {where}")
    benchmarks = sorted({record.benchmark for record in found.records.values()})
    if len(benchmarks) > 1:
        raise UserError(f"{where} holds '{methods[0]}' on {', '.join(benchmarks)}: name the folder of one benchmark")
    return newest_of(found, where)
