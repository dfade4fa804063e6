"""The published records: read one by one, checked against themselves and each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clsuite.errors import UserError
from clsuite.records import RecordError, RunRecord, read_predictions, read_record, rescore
from clsuite.runner.plan import file_name


@dataclass
class Shelf:
    """Remembers of the records seen what later ones are checked against."""

    keys: dict[tuple[str, str], str] = field(default_factory=dict)
    seeds: dict[tuple[str, str, int], str] = field(default_factory=dict)
    streams: dict[tuple[str, int], tuple[str, str]] = field(default_factory=dict)
    setups: dict[str, tuple[dict[str, Any], str]] = field(default_factory=dict)
    methods: dict[tuple[str, str], tuple[dict[str, Any], str]] = field(default_factory=dict)

    def complaint(self, record: RunRecord, where: str) -> str:
        """What stands against the record beside those before it; empty where nothing does, and it is remembered."""
        name, seed = record.benchmark, record.seed
        setup = {key: value for key, value in record.config.items() if key not in ("training", "probes")}
        same_key = self.keys.setdefault((name, record.key), where)
        same_seed = self.seeds.setdefault((name, record.method, seed), where)
        fingerprint, stream = self.streams.setdefault((name, seed), (record.scenario.fingerprint, where))
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
        return ""


def _differing(first: dict[str, Any], second: dict[str, Any]) -> str:
    return ", ".join(sorted(key for key in {*first, *second} if first.get(key) != second.get(key)))


def record_place(record: RunRecord) -> Path:
    """Where a record is published, below the folder of the records."""
    return Path(record.benchmark) / file_name(record.method) / f"{record.key}.json"


def self_complaint(record: RunRecord, predictions: Path) -> str:
    """What stands against a record by itself; empty where nothing does."""
    if record.status != "done" or record.counts is None or record.cost is None:
        return f"the run is not done but {record.status}"
    if record.results_version() is None:
        return "its key does not follow from its content: it was edited, or made by a later version of clsuite"
    if "judged_on" in record.config:
        return f"it is judged on {record.config['judged_on']} parts: only runs judged on test parts are published"
    if record.method.strip() == "" or record.benchmark != Path(record.benchmark).name:
        return "its benchmark or method is not a name"
    if path := machine_path(record.model_dump(mode="json")):
        return f"it holds a path of a machine: '{path}'"
    try:
        counted = rescore(read_predictions(predictions))
    except (RecordError, KeyError, IndexError, ValueError) as error:
        return f"its predictions cannot be counted: {error}"
    for protocol in ("class_incremental", "task_aware", "n", "learned"):
        if getattr(counted, protocol) != getattr(record.counts, protocol):
            return f"counts.{protocol} does not follow from the predictions"
    return ""


def machine_path(value: Any) -> str:
    """The first text in a value that looks like an absolute path; empty where there is none."""
    if isinstance(value, dict):
        return next((found for item in value.values() if (found := machine_path(item))), "")
    if isinstance(value, list):
        return next((found for item in value if (found := machine_path(item))), "")
    absolute = isinstance(value, str) and (value.startswith(("/", "~/", "\\\\")) or value[1:3] in (":\\", ":/"))
    return value if absolute else ""


def read_published(folder: Path) -> Iterator[tuple[str, RunRecord]]:
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
        complaint = self_complaint(record, path.with_suffix(".npz")) or shelf.complaint(record, where)
        if not complaint and record_place(record).as_posix() != where:
            complaint = f"its place is '{record_place(record).as_posix()}'"
        if complaint:
            problems.append(f"{where}: {complaint.replace(str(folder) + '/', '')}")
        else:
            yield where, record
    if problems:
        raise UserError("records that cannot be published:\n" + "\n".join(problems))
