"""Publishes finished records, after checking them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clsuite.board.confirmed import Confirmations, read_confirmed
from clsuite.board.index import BESIDE, Entry, index_bytes, read_index, why_untrusted
from clsuite.board.layout import Leaderboard
from clsuite.board.published import RecordSetCheck, read_published
from clsuite.board.sources import find_sources, published_sources
from clsuite.board.status import all_stale_notes, read_rerun
from clsuite.board.validate.environment import normalization_problem
from clsuite.board.validate.names import benchmark_name_problem
from clsuite.board.validate.record import LARGEST_ARRAYS, examine, read_foreign, record_place
from clsuite.errors import UserError, bearable, printable, shortened
from clsuite.records import RunRecord, atomic_path, predictions_beside, read_predictions, record_text
from clsuite.records.order import seed_name
from clsuite.report.gather import record_files

LARGEST = 2_000_000
Arrays = Mapping[str, NDArray[np.integer]]
StreamCheck = Callable[[RunRecord, Arrays], str]
"""A function that gives the problem with a record's stream, made again from the data; empty if there is none."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of publishing a record.

    Attributes:
        name: The row that it gives.
        reason: Why it was refused, or which record it replaces and why.
    """

    path: Path
    verdict: Literal["added", "replaced", "known", "refused"]
    name: str = ""
    reason: str = ""


@dataclass(frozen=True)
class _Offer:
    """A record that is valid by itself, and the published one of its method and seed if there is one.

    Attributes:
        sources: What is published with it of a method or stream that is a file, by the suffixes of the names.
    """

    path: Path
    record: RunRecord
    samples: str
    packed: bytes
    arrays: Arrays
    sources: Mapping[str, bytes]
    old: RunRecord | None
    why: str


@dataclass(frozen=True)
class _Options:
    """The options of `add_records`.

    Attributes:
        replace: Whether another run of the same method and seed is replaced.
        stale: Whether records of an earlier version are accepted.
        stream: Checks a record's stream against the data.
        plugins_from: Folders of methods and streams that are files.
    """

    replace: bool
    stale: bool
    stream: StreamCheck
    plugins_from: tuple[Path, ...]


@dataclass(frozen=True)
class _Published:
    """What is already published, and which of it may be replaced.

    Attributes:
        records: Records by their row.
        rows: Entries of the index.
        confirmed: Which earlier sources give the same counts as the current ones.
        options: The options of the call.
    """

    place: Leaderboard
    records: Mapping[str, RunRecord]
    rows: Mapping[str, Entry]
    confirmed: Confirmations
    options: _Options


def add_records(
    places: Sequence[Path],
    place: Leaderboard,
    replace: bool,
    stale: bool,
    stream: StreamCheck,
    plugins_from: Sequence[Path] = (),
) -> list[Outcome]:
    """Publish those records among some files and folders that pass every check.

    A problem with a record, or with writing it, is reported as its outcome; the others are published.

    Args:
        places: Records, or folders with records anywhere below.
        place: The leaderboard.
        replace: Replace another record of the same method and seed; a stale one is always replaced.
        stale: Accept records of an earlier version of a plugin too; their rows are marked.
        stream: Checks a record's stream against the data.
        plugins_from: Folders of methods and streams that are files, which are published with their rows.

    Raises:
        UserError: If a place does not exist, or what is already published is not valid.
    """
    paths = list(dict.fromkeys(path for given in places for path in record_files(given)))
    options = _Options(replace, stale, stream, tuple(plugins_from))
    if not place.folder.is_dir():
        outcomes, offers, _ = _sorted(paths, place, options)
        if not offers:
            return outcomes
    with place.locked():
        outcomes, offers, rows = _sorted(paths, place, options)
        return outcomes + [_publish(place, offer, rows) for offer in offers]


def _sorted(
    paths: Sequence[Path], place: Leaderboard, options: _Options
) -> tuple[list[Outcome], list[_Offer], dict[str, Entry]]:
    """Outcomes that are known already, records that are to be published, and the rows that there are."""
    shelved, rows = list(read_published(place.records)), read_index(place)
    there = {_name(item.record): item.record for item in shelved}
    published = _Published(place, there, rows, read_confirmed(place.confirmed), options)
    judged = [_outcome_of(path, "", partial(_judge, path, published)) for path in paths]
    offers = [item for item in judged if isinstance(item, _Offer)]
    outcomes = [item for item in judged if isinstance(item, Outcome)]
    gone = {item.old.key for item in offers if item.old}
    record_set = RecordSetCheck()
    for item in shelved:
        if item.record.key not in gone:
            record_set.problem(item.record, item.samples, item.where)
    taken = [
        _outcome_of(offer.path, _name(offer.record), partial(_beside_others, offer, record_set, options.stream))
        for offer in offers
    ]
    outcomes += [item for item in taken if isinstance(item, Outcome)]
    return outcomes, [item for item in taken if isinstance(item, _Offer)], rows


def _refused(path: Path, name: str, reason: str) -> Outcome:
    return Outcome(path, "refused", shortened(name), bearable(printable(reason)))


def _name(record: RunRecord) -> str:
    return f"{record.benchmark}/{record.method}/{seed_name(record)}"


def _outcome_of(path: Path, name: str, judge: Callable[[], _Offer | Outcome]) -> _Offer | Outcome:
    """The result of a check; a record on which the check itself fails is refused, and the rest are checked."""
    try:
        return judge()
    except UserError as error:
        return _refused(path, name, str(error))
    except Exception as error:
        return _refused(path, name, f"it cannot be judged: {type(error).__name__}: {error}")


def _judge(path: Path, published: _Published) -> _Offer | Outcome:
    """Check a record by itself and against the one that it would replace."""
    record = read_foreign(path)
    predictions = predictions_beside(path, record)
    found = examine(record, predictions)
    problem = found.problem or benchmark_name_problem(record) or normalization_problem(record)
    notes = [] if published.options.stale or problem else all_stale_notes(record, None, published.confirmed)
    if notes:
        problem = f"{'; '.join(notes)}: run it again, or give --stale to publish it marked as stale"
    if problem:
        return _refused(path, _name(record), problem)
    arrays = read_predictions(predictions, LARGEST_ARRAYS)
    packed = compact(arrays)
    if len(packed) > LARGEST:
        text = f"its predictions take {len(packed)} bytes, but may take {LARGEST} at most"
        return _refused(path, _name(record), text)
    old = published.records.get(_name(record))
    sources = find_sources(record, published.options.plugins_from)
    offer = _Offer(path, record, found.samples, packed, arrays, sources, old, "")
    return offer if old is None else _in_place_of(old, offer, published)


def _in_place_of(old: RunRecord, offer: _Offer, published: _Published) -> _Offer | Outcome:
    """Check a record if another one of its method and seed is published."""
    name, entry = _name(old), published.rows.get(_name(old))
    untrusted = why_untrusted(entry, published.place.records / record_place(old))
    same = old.key == offer.record.key and old.counts == offer.record.counts
    repeated = old.model_copy(update={"predictions": offer.record.predictions}) != offer.record
    if same and not untrusted and not (published.options.replace and repeated):
        return Outcome(offer.path, "known", name, f"the same run is published: {old.key[:12]}")
    why = _why_stale(old, published) or (f"which {untrusted}" if untrusted and entry is None else "")
    if not why and not published.options.replace:
        which = "another run of it is published"
        if old.key == offer.record.key:
            which = "the same run is published with other counts"
        if untrusted:
            which = f"what is published is not to be trusted, it {untrusted}"
        text = f"{which} ({old.key[:12]}): give --replace to put this one in its place"
        return _refused(offer.path, name, text)
    return replace(offer, why=f"in place of {old.key[:12]}, {why or 'as asked'}")


def _why_stale(old: RunRecord, published: _Published) -> str:
    rerun = read_rerun(published.place.records / record_place(old), old)
    notes = all_stale_notes(old, rerun, published.confirmed)
    return f"which is stale: {'; '.join(notes)}" if notes else ""


def _beside_others(offer: _Offer, record_set: RecordSetCheck, stream: StreamCheck) -> _Offer | Outcome:
    """Check a record against the data and against records that are published or accepted already."""
    problem = stream(offer.record, offer.arrays) or record_set.problem(offer.record, offer.samples, str(offer.path))
    return _refused(offer.path, _name(offer.record), problem) if problem else offer


def _publish(place: Leaderboard, offer: _Offer, rows: dict[str, Entry]) -> Outcome:
    """Write a record, its predictions and its row: all of them, or none if that fails."""
    name = _name(offer.record)
    try:
        rows[name] = _write(place, offer, rows)
    except (UserError, OSError, ValueError) as error:
        return _refused(offer.path, name, f"it could not be written: {error}")
    return Outcome(offer.path, "replaced" if offer.old else "added", name, offer.why)


def _write(place: Leaderboard, offer: _Offer, rows: Mapping[str, Entry]) -> Entry:
    """Write the files of a row and the index; returns the row's new entry in the index."""
    target = place.records / record_place(offer.record)
    place.refuse_links([target.parent, target.parent.parent])
    arrays = target.with_suffix(BESIDE["predictions"])
    content = record_text(offer.record.model_copy(update={"predictions": arrays.name})).encode()
    record, predictions = (sha256(part).hexdigest() for part in (content, offer.packed))
    sources = {suffix: sha256(text).hexdigest() for suffix, text in offer.sources.items()}
    entry = Entry(key=offer.record.key, record=record, predictions=predictions, sources=sources or None)
    with ExitStack() as stack:
        index, written, packed = (stack.enter_context(atomic_path(path)) for path in (place.index, target, arrays))
        for suffix, text in offer.sources.items():
            stack.enter_context(atomic_path(target.with_name(f"{target.stem}{suffix}"))).write_bytes(text)
        packed.write_bytes(offer.packed)
        written.write_bytes(content)
        index.write_bytes(index_bytes({**rows, _name(offer.record): entry}))
    if offer.old is not None:
        old = place.records / record_place(offer.old)
        for part, suffix in BESIDE.items():
            if part == "rerun" or old != target:
                old.with_suffix(suffix).unlink(missing_ok=True)
        for suffix, source in published_sources(old).items():
            if old != target or suffix not in offer.sources:
                source.unlink()
    return entry


def compact(arrays: Mapping[str, NDArray[np.integer]]) -> bytes:
    """Predictions in as few bytes as possible, in a form that `read_predictions` reads; always the same bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in sorted(arrays.items()):
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_LZMA)
    return packed.getvalue()
