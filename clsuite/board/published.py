"""The published records: read one by one, checked against themselves and each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clsuite.board.examine import examine, record_place
from clsuite.errors import UserError
from clsuite.records import RecordError, RunRecord, read_record


@dataclass(frozen=True)
class Published:
    """A published record that stands every check.

    Attributes:
        where: Its file, relative to the folder of the records.
        record: The record.
        samples: Hash of the test samples that it was judged on.
    """

    where: str
    record: RunRecord
    samples: str


@dataclass
class Shelf:
    """Remembers of the records seen what later ones are checked against."""

    keys: dict[str, str] = field(default_factory=dict)
    seeds: dict[tuple[str, str, int], str] = field(default_factory=dict)
    streams: dict[tuple[str, int], tuple[str, str, str]] = field(default_factory=dict)
    setups: dict[str, tuple[dict[str, Any], str]] = field(default_factory=dict)
    methods: dict[tuple[str, str], tuple[dict[str, Any], str]] = field(default_factory=dict)

    def complaint(self, record: RunRecord, samples: str, where: str) -> str:
        """What stands against the record beside those before it; empty where nothing does, and it is remembered.

        Args:
            record: The record.
            samples: Hash of its test samples.
            where: What to call it in later complaints.
        """
        name, seed = record.benchmark, record.seed
        setup = {key: value for key, value in record.config.items() if key not in ("training", "probes")}
        setup["kind of stream"] = record.scenario.kind
        same_key = self.keys.setdefault(record.key, where)
        same_seed = self.seeds.setdefault((name, record.method, seed), where)
        own = (record.scenario.fingerprint, samples, where)
        fingerprint, judged_on, stream = self.streams.setdefault((name, seed), own)
        first, place = self.setups.setdefault(name, (setup, where))
        method = {**record.config, "plugins": [{"name": one.name, "args": one.args} for one in record.plugins]}
        usual, other = self.methods.setdefault((name, record.method), (method, where))
        if same_key != where:
            return f"it is the same run as '{same_key}'"
        if same_seed != where:
            return f"'{same_seed}' is {record.method} on {name} with seed {seed} too: name the one that is to stand"
        if first != setup:
            return f"its {_differing(first, setup)} differs from that of '{place}'"
        if usual != method:
            return f"its {_differing(usual, method)} differs from that of '{other}', another seed of {record.method}"
        if fingerprint != record.scenario.fingerprint:
            return f"its stream is another one than that of '{stream}' with the same seed: other data, seed or scenario"
        if judged_on != samples:
            return f"its predictions are of other test images than those of '{stream}' with the same seed"
        return ""


def _differing(first: dict[str, Any], second: dict[str, Any]) -> str:
    return ", ".join(sorted(key for key in {*first, *second} if first.get(key) != second.get(key)))


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
            record = read_record(path)
        except RecordError as error:
            problems.append(str(error).replace(str(path), where))
            continue
        found = examine(record, path.with_suffix(".npz"))
        complaint = found.complaint or shelf.complaint(record, found.samples, where)
        if not complaint and record_place(record).as_posix() != where:
            complaint = f"its place is '{record_place(record).as_posix()}'"
        if complaint:
            problems.append(f"{where}: {complaint.replace(str(folder) + '/', '')}")
        else:
            yield Published(where, record, found.samples)
    if problems:
        raise UserError("records that cannot be published:\n" + "\n".join(problems))
