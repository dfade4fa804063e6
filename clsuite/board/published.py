"""The published records: read one by one, checked against themselves and each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from clsuite.board.examine import examine, read_foreign, record_place
from clsuite.errors import UserError, printable
from clsuite.records import RecordError, RunRecord
from clsuite.report.alike import Alike


@dataclass(frozen=True)
class Published:
    """A published record that stands every check.

    Attributes:
        where: Its file, relative to the folder of the records.
        record: The record.
        samples: Hash of the test samples that it was judged on.
        predictions: Hash of its predictions after each task.
    """

    where: str
    record: RunRecord
    samples: str
    predictions: str


@dataclass
class Shelf:
    """Remembers of the records seen what later ones are checked against."""

    keys: dict[str, str] = field(default_factory=dict)
    seeds: dict[tuple[str, str, int], str] = field(default_factory=dict)
    alike: Alike = field(default_factory=Alike)
    images: dict[tuple[str, int], tuple[str, str]] = field(default_factory=dict)

    def complaint(self, record: RunRecord, samples: str, where: str) -> str:
        """What stands against the record beside those before it; empty where nothing does, and it is remembered.

        Args:
            record: The record.
            samples: Hash of its test samples.
            where: What to call it in later complaints.
        """
        name, seed = record.benchmark, record.seed
        same_key = self.keys.setdefault(record.key, where)
        if same_key != where:
            return f"it is the same run as '{same_key}'"
        same_seed = self.seeds.setdefault((name, record.method, seed), where)
        if same_seed != where:
            return f"'{same_seed}' is {record.method} on {name} with seed {seed} too: name the one that is to stand"
        if unlike := self.alike.complaint(record, where):
            return unlike
        judged_on, other = self.images.setdefault((name, seed), (samples, where))
        if judged_on != samples:
            return f"its predictions are of other test images than those of '{other}' with the same seed"
        return ""


def read_published(folder: Path) -> Iterator[Published]:
    """Read all published records in the order of their paths, predictions counted and let go.

    Args:
        folder: The folder of the records.

    Raises:
        UserError: After the last record, with a line for each that is not as it should be.
    """
    shelf, problems = Shelf(), []
    paths = sorted(path for path in folder.rglob("*.json") if not path.name.endswith(".rerun.json"))
    for path in paths:
        where = path.relative_to(folder).as_posix()
        try:
            record = read_foreign(path)
        except RecordError as error:
            problems.append(printable(str(error).replace(str(path), where)))
            continue
        found = examine(record, path.with_suffix(".npz"))
        complaint = found.complaint or shelf.complaint(record, found.samples, where)
        if not complaint and record_place(record).as_posix() != where:
            complaint = f"its place is '{record_place(record).as_posix()}'"
        if complaint:
            problems.append(printable(f"{where}: {complaint.replace(str(folder) + '/', '')}"))
        else:
            yield Published(where, record, found.samples, found.predictions)
    if problems:
        raise UserError("records that cannot be published:\n" + "\n".join(problems))
