"""Checks a record by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clsuite.board.confirmed import our_source
from clsuite.board.validate.costs import cost_problem
from clsuite.board.validate.curves import course_problem
from clsuite.board.validate.environment import claim_problem
from clsuite.board.validate.probes import probe_problem, reading_problem
from clsuite.board.validate.text import name_problem, portability_problem
from clsuite.config.error_text import first_mistake
from clsuite.records import RecordError, RunRecord, read_predictions, read_record, rescore
from clsuite.records.verify import COUNTED
from clsuite.runner.file_names import file_name

LARGEST_ARRAYS = 2**25
"""Largest size in bytes of a record's predictions, unpacked: 50,000 test images over 150 tasks."""
LARGEST_IMAGE = 2048
"""Largest side of an image in pixels: four times that of the largest backbones."""
MOST_TIES = 0.02
"""Largest share of images whose largest logit occurs twice, in a precision other than the processor's."""
PREDICTED = ("class_incremental", "task_aware", "open_vocabulary")
"""The arrays of predictions by protocol; the last one only of methods with an open vocabulary."""
COMPETING = {
    "class_incremental": "all classes seen",
    "seen": "the classes seen",
    "task_aware": "those of the part",
    "open_vocabulary": "all names",
}
"""The classes that compete in each of them, in words."""
LARGEST_RECORD = 2_000_000
"""Largest size of a record in bytes, two hundred times that of ten tasks."""


class _Named(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str


class _Backbone(_Named):
    image_size: int = Field(ge=1, le=LARGEST_IMAGE)


class _Probe(BaseModel):
    model_config = ConfigDict(strict=True)

    kind: str
    name: str | None = None


class _Setup(BaseModel):
    """The parts of a configuration from which the board and the streams are made."""

    model_config = ConfigDict(strict=True)

    backbone: _Backbone
    dataset: _Named | None = None
    scenario: dict[str, Any] | None = None
    training: dict[str, Any] | None = None
    limit_tasks: int | None = None
    probes: list[_Probe] = []


@dataclass(frozen=True)
class Examined:
    """The result of checking a record by itself.

    Attributes:
        problem: The problem with it; empty if there is none.
        samples: Hash of the test samples that it was evaluated on: label, part and task of the part.
        predictions: Hash of its predictions after each task.
    """

    problem: str
    samples: str = ""
    predictions: str = ""


def record_place(record: RunRecord) -> Path:
    """Path of a published record, below the folder of the records."""
    return Path(record.benchmark) / file_name(record.method) / f"{record.key}.json"


def read_foreign(path: Path) -> RunRecord:
    """Read a record from someone else, or one of the published records.

    Raises:
        RecordError: As `read_record`, and if it is larger than any published record; it is not read then.
    """
    if path.is_file() and (size := path.stat().st_size) > LARGEST_RECORD:
        raise RecordError(f"the record '{path}' takes {size} bytes, but may take {LARGEST_RECORD} at most")
    return read_record(path)


def examine(record: RunRecord, predictions: Path) -> Examined:
    """Check a record by itself and with its predictions; one on which a check fails is reported like any other."""
    try:
        if problem := next((found for check in CHECKS if (found := check(record))), ""):
            return Examined(problem)
    except Exception as error:
        return Examined(f"it cannot be judged: {type(error).__name__}: {error}")
    try:
        arrays = read_predictions(predictions, LARGEST_ARRAYS)
        counted = rescore(arrays)
        samples, predicted = _hash_of_samples(arrays), _hash_of_predictions(arrays)
    except Exception as error:
        return Examined(f"its predictions cannot be counted: {error}")
    for name in COUNTED:
        if getattr(counted, name) != getattr(record.counts, name):
            return Examined(f"counts.{name} does not follow from the predictions")
    if problem := _of_the_same_logits(record, arrays):
        return Examined(problem)
    return Examined("", samples, predicted)


def _of_the_same_logits(record: RunRecord, arrays: dict[str, NDArray[np.integer]]) -> str:
    """The problem if the protocols cannot come from the same logits.

    A prediction that is right among all classes is right among fewer. If the largest logit occurs twice, a processor
    takes the first, while other devices may take any. With an open vocabulary, classes of the part compete that are not
    seen yet, so that only the predictions among all names say something of those among fewer.
    """
    right = {name: arrays[name] == arrays["labels"] for name in PREDICTED if name in arrays}
    pairs = [("class_incremental", "task_aware")]
    if "open_vocabulary" in arrays:
        right["seen"] = right["class_incremental"] | (arrays["class_incremental"] < 0)
        pairs = [("open_vocabulary", "seen"), ("open_vocabulary", "task_aware")]
    ties = 0 if record.environment.get("device_type") == "cpu" else MOST_TIES * len(arrays["labels"])
    for many, few in pairs:
        odd = (right[many] & ~right[few]).sum(axis=1)
        if (odd > ties).any():
            row = int(odd.argmax())
            return (
                f"row {row} of its predictions is right on {odd[row]} images where {COMPETING[many]} compete, and "
                f"wrong on them where only {COMPETING[few]} do: both are of the same logits"
            )
    return ""


def _hash_of_samples(arrays: dict[str, NDArray[np.integer]]) -> str:
    return _hash_of({name: arrays[name] for name in ("labels", "task", "learned") if name in arrays})


def _hash_of_predictions(arrays: dict[str, NDArray[np.integer]]) -> str:
    """Hash of the predictions after each task; the row before all tasks does not depend on the method."""
    return _hash_of({name: arrays[name][1:] for name in PREDICTED if name in arrays})


def _hash_of(arrays: dict[str, NDArray[np.integer]]) -> str:
    """Hash of names, shapes and values, independent of the integer width that they are stored in."""
    content = sha256()
    for name, array in arrays.items():
        content.update(f"{name}{array.shape}".encode())
        content.update(array.astype("<i8").tobytes())
    return content.hexdigest()


def _status_problem(record: RunRecord) -> str:
    if record.status != "done":
        return f"the run is not done but {record.status}"
    if record.error is not None:
        return "the run is done, and has an error"
    if "judged_on" in record.config:
        return f"it is judged on {record.config['judged_on']} parts: only runs judged on test parts are published"
    return ""


def _setup_problem(record: RunRecord) -> str:
    """The problem with its configuration; empty if it is one that clsuite writes."""
    try:
        _Setup.model_validate(record.config)
    except ValidationError as error:
        return first_mistake(error, "config", "config.")
    return ""


def _key_problem(record: RunRecord) -> str:
    if record.results_version() is None:
        return "its key does not follow from its content: it was edited, or made by a later version of clsuite"
    stream_kind = (record.config.get("scenario") or {}).get("kind", "avalanche")
    if stream_kind not in ("avalanche", record.scenario.kind):  # a stream from Avalanche states its own kind
        return f"its stream is {record.scenario.kind}, but its configuration asks for {stream_kind}"
    return ""


def _task_problem(record: RunRecord) -> str:
    """The problem with the numbers of tasks, names and readings; empty if they match the matrix."""
    counts = record.main_counts
    scenario = record.scenario
    lengths = {
        "tasks": (len(record.tasks), counts.tasks),
        "scenario.task_names": (len(scenario.task_names), counts.tasks),
        "scenario.task_fingerprints": (len(scenario.task_fingerprints), counts.tasks),
        "scenario.part_names": (len(scenario.columns), counts.n.shape[0]),
        **{f"probes.{probe.name}": (len(probe.values), counts.tasks + 1) for probe in record.probes},
    }
    for name, (given, due) in lengths.items():
        if given != due:
            return f"{name} has {given} entries, but its matrix asks for {due}"
    return ""


def _vocabulary_problem(record: RunRecord) -> str:
    """The problem with counts over all names of a method whose plugins are known to have no open vocabulary."""
    if record.counts is None or record.counts.open_vocabulary is None:
        return ""
    sources = [our_source(plugin.name) for plugin in record.plugins]
    by_name = any(source is None or source.traits.open_vocabulary for source in sources)
    if by_name or (record.config.get("training") or {}).get("head") == "zero_shot":
        return ""
    return "counts.open_vocabulary: its method cannot predict classes by their names"


CHECKS: tuple[Callable[[RunRecord], str], ...] = (
    _status_problem, name_problem, portability_problem, _setup_problem, _key_problem, _task_problem, cost_problem,
    course_problem, reading_problem, probe_problem, claim_problem, _vocabulary_problem,
)  # fmt: skip
"""The checks, in this order; each returns the problem with a record, empty if there is none."""
