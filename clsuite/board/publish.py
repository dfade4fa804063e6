"""Takes finished records in, after checking them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clsuite.board.examine import examine, record_place
from clsuite.board.published import Shelf, read_published
from clsuite.board.shelf import Leaderboard, index_bytes, read_index
from clsuite.board.standing import read_rerun, standing_notes
from clsuite.errors import UserError
from clsuite.records import RecordError, RunRecord, atomic_path, read_predictions, read_record, write_record
from clsuite.report.gather import record_files

LARGEST = 2_000_000
StreamCheck = Callable[[RunRecord], str]
"""What stands against a record's stream, made anew from the data; empty where nothing does."""


@dataclass(frozen=True)
class Outcome:
    """What became of a record that was offered.

    Attributes:
        reason: Why it was refused, or which record it replaces and why.
    """

    path: Path
    verdict: Literal["added", "replaced", "known", "refused"]
    name: str = ""
    reason: str = ""


@dataclass(frozen=True)
class _Offer:
    """A record that stands well by itself, and the published one of its method and seed where there is one."""

    path: Path
    record: RunRecord
    samples: str
    old: RunRecord | None
    why: str


def add_records(
    places: Sequence[Path], place: Leaderboard, replace: bool, stale: bool, stream: StreamCheck
) -> list[Outcome]:
    """Publish the records among some files and folders that stand every check.

    Args:
        places: Records, or folders with records anywhere below.
        place: The leaderboard.
        replace: Take the place of another record of the same method and seed; a stale one gives way in any case.
        stale: Take records of an earlier version of a plugin too; their rows are marked.
        stream: Checks a record's stream against the data.

    Raises:
        UserError: If a place is not there, or what is published already is not as it should be.
    """
    shelved = list(read_published(place.records))
    published = {(one.record.benchmark, one.record.method, one.record.seed): one.record for one in shelved}
    paths = dict.fromkeys(path for given in places for path in record_files(given))
    judged = [_judge(path, place, published, replace, stale) for path in paths]
    offers = [one for one in judged if isinstance(one, _Offer)]
    outcomes = [one for one in judged if isinstance(one, Outcome)]
    gone = {one.old.key for one in offers if one.old}
    shelf = Shelf()
    for one in shelved:
        if one.record.key not in gone:
            shelf.complaint(one.record, one.samples, one.where)
    taken: list[_Offer] = []
    for offer in offers:
        complaint = stream(offer.record) or shelf.complaint(offer.record, offer.samples, str(offer.path))
        if complaint:
            outcomes.append(Outcome(offer.path, "refused", _name(offer.record), complaint))
        else:
            taken.append(offer)
            outcomes.append(Outcome(offer.path, "replaced" if offer.old else "added", _name(offer.record), offer.why))
    _publish(place, taken)
    return outcomes


def _name(record: RunRecord) -> str:
    return f"{record.benchmark}/{record.method}/{record.seed}"


def _judge(
    path: Path,
    place: Leaderboard,
    published: Mapping[tuple[str, str, int], RunRecord],
    replace: bool,
    stale: bool,
) -> _Offer | Outcome:
    """A record by itself and beside the one in its place."""
    try:
        record = read_record(path)
    except RecordError as error:
        return Outcome(path, "refused", "", str(error))
    predictions = path.with_name(Path(record.predictions).name) if record.predictions else path.with_suffix(".npz")
    found = examine(record, predictions)
    complaint = found.complaint
    notes = [] if stale or complaint else standing_notes(record, None)
    if notes:
        complaint = f"{'; '.join(notes)}: run it again, or say --stale to publish it marked as stale"
    if complaint:
        return Outcome(path, "refused", _name(record), complaint)
    old = published.get((record.benchmark, record.method, record.seed))
    if old is None:
        return _Offer(path, record, found.samples, None, "")
    if old.key == record.key:
        return Outcome(path, "known", _name(record), f"the same run is published: {old.key[:12]}")
    why = _why_stale(old, place)
    if not why and not replace:
        text = f"another run of it is published ({old.key[:12]}): say --replace to put this one in its place"
        return Outcome(path, "refused", _name(record), text)
    return _Offer(path, record, found.samples, old, f"in place of {old.key[:12]}, {why or 'as asked'}")


def _why_stale(old: RunRecord, place: Leaderboard) -> str:
    notes = standing_notes(old, read_rerun(place.records / record_place(old), old))
    return f"which is stale: {'; '.join(notes)}" if notes else ""


def _publish(place: Leaderboard, offers: Iterable[_Offer]) -> None:
    rows = read_index(place)
    for offer in offers:
        target = place.records / record_place(offer.record)
        source = offer.path.with_name(Path(offer.record.predictions or offer.path.with_suffix(".npz").name).name)
        write_compact(target.with_suffix(".npz"), read_predictions(source))
        name = target.with_suffix(".npz").name
        write_record(offer.record.model_copy(update={"predictions": name}), target)
        if offer.old is not None:
            old = place.records / record_place(offer.old)
            for suffix in (".json", ".npz", ".rerun.json"):
                old.with_suffix(suffix).unlink(missing_ok=True)
        rows[_name(offer.record)] = offer.record.key
        with atomic_path(place.index) as temporary:
            temporary.write_bytes(index_bytes(rows))


def write_compact(path: Path, arrays: Mapping[str, NDArray[np.integer]]) -> None:
    """Write predictions as small as can be, in a form that `read_predictions` reads; the same bytes each time.

    Raises:
        UserError: If they are larger than a published file may be.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in sorted(arrays.items()):
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_LZMA)
    if len(packed.getvalue()) > LARGEST:
        raise UserError(f"the predictions of '{path.name}' take {len(packed.getvalue())} bytes: too many to publish")
    with atomic_path(path) as temporary:
        temporary.write_bytes(packed.getvalue())
