"""The records of a submission with their states, and the checks that learn nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clsuite.board.publish import StreamCheck
from clsuite.board.published import RecordSetCheck
from clsuite.board.validate.environment import normalization_problem
from clsuite.board.validate.names import benchmark_name_problem
from clsuite.board.validate.record import LARGEST_ARRAYS, examine, read_foreign
from clsuite.config.paths import files_below
from clsuite.errors import UserError, printable
from clsuite.records import RunRecord, StateEntry, predictions_beside, read_predictions, row_digest
from clsuite.records.order import seed_name
from clsuite.records.state_files import STATES, state_path
from clsuite.report.gather import record_files
from clsuite.stream.sealed_state import DamagedStateError, read_state, state_digest

ENTRIES = frozenset({"key", "task", "learner", "evaluated", "losses"})
"""The entries of a kept state."""


@dataclass(frozen=True)
class Submitted:
    """A record that claims to be audited.

    Attributes:
        path: Its file.
        record: The record.
        arrays: Its predictions.
        states: The folder of its states.
        samples: Hash of its test samples.
    """

    path: Path
    record: RunRecord
    arrays: Mapping[str, NDArray[np.integer]]
    states: Path
    samples: str

    @property
    def name(self) -> str:
        """The name of the row that it gives."""
        return f"{self.record.benchmark}/{self.record.method}/{seed_name(self.record)}"

    @property
    def commitments(self) -> list[StateEntry]:
        """What it commits to, for each task."""
        assert self.record.states is not None
        return self.record.states

    def state(self, task: int) -> dict[str, Any] | None:
        """The state after some tasks, whose hash was checked; None before the first."""
        return read_state(state_path(self.states, task)) if task else None


def read_submission(
    places: Sequence[Path], folder: Path | None, stream: StreamCheck
) -> tuple[list[Submitted], list[str]]:
    """Read the records of a submission, and check each by itself, with the data and beside the others.

    Args:
        places: Records, or folders with records at any depth.
        folder: The folder with the states, at any depth; by default they are beside the records.
        stream: Checks a record's stream against the data.

    Returns:
        The valid records, and a line for each of the others.

    Raises:
        UserError: If there is no record, one cannot be read, or one was made without keeping its states.
    """
    paths = list(dict.fromkeys(path for place in places for path in record_files(place)))
    if not paths:
        raise UserError(f"no record in {', '.join(repr(str(place)) for place in places)}")
    there = _state_folders(folder) if folder is not None else []
    records = [(path, read_foreign(path)) for path in paths]
    for path, record in records:
        if record.states is None:
            raise UserError(f"'{path}' commits to no states: run it with --keep-states")
    record_set, found, problems = RecordSetCheck(), [], []
    for path, record in records:
        one = _checked(path, record, there if folder is not None else None, stream)
        if isinstance(one, Submitted):
            one = record_set.problem(record, one.samples, str(path)) or one
        if isinstance(one, Submitted):
            found.append(one)
        else:
            problems.append(printable(f"{record.benchmark}/{record.method}/{seed_name(record)}: {one}"))
    return found, problems


def _checked(path: Path, record: RunRecord, there: Sequence[Path] | None, stream: StreamCheck) -> Submitted | str:
    """The record with its states, or the problem with it."""
    predictions = predictions_beside(path, record)
    examined = examine(record, predictions)
    if problem := examined.problem or benchmark_name_problem(record) or normalization_problem(record):
        return problem
    arrays = read_predictions(predictions, LARGEST_ARRAYS)
    if problem := stream(record, arrays):
        return problem
    return Submitted(path, record, arrays, _folder_of(path, record, there), examined.samples)


def _state_folders(folder: Path) -> list[Path]:
    """All folders of states in a folder.

    Raises:
        UserError: If it does not exist, or has none.
    """
    if not folder.is_dir():
        raise UserError(f"--states '{folder}' is not a folder")
    found = list(dict.fromkeys(path.parent for path in files_below(folder, "task*.state")))
    if not found:
        raise UserError(f"there are no states in '{folder}' (RECORD{STATES}/task1.state, ...)")
    return found


def _folder_of(path: Path, record: RunRecord, there: Sequence[Path] | None) -> Path:
    """The folder of a record's states: beside it, or the one in another folder that is named after its key."""
    beside = path.with_suffix(STATES)
    names = (beside.name, f"{record.key}{STATES}")
    ends = f"-{record.key[:12]}{STATES}"
    fitting = [folder for folder in there or () if folder.name in names or folder.name.endswith(ends)]
    return fitting[0] if fitting else beside


def state_problems(one: Submitted) -> Iterator[str]:
    """A line for each state of a record that is not what the record commits to; nothing is learned for this."""
    entries, tasks = one.commitments, len(one.record.tasks)
    if len(entries) != tasks:
        yield f"{one.name}: it commits to {len(entries)} states, but has {tasks} tasks"
        return
    for task, entry in enumerate(entries, 1):
        if (digest := row_digest(one.arrays, task)) != entry.predictions:
            yield _line(one, task, "hash of the predictions", entry.predictions[:12], digest[:12])
        try:
            state = one.state(task)
        except FileNotFoundError:
            yield f"{one.name}: task {task}: its state '{state_path(one.states, task)}' is missing"
            continue
        except DamagedStateError as error:
            yield f"{one.name}: task {task}: its state '{state_path(one.states, task)}' is damaged: {error}"
            continue
        assert state is not None
        content = {name: value for name, value in state.items() if name in ENTRIES}
        if (digest := state_digest(content)) != entry.state:
            yield _line(one, task, "hash of the state", entry.state[:12], digest[:12])
        elif (state.get("key"), state.get("task")) != (one.record.key, task):
            due = f"key {one.record.key[:12]}, task {task}"
            yield _line(one, task, "run of the state", due, f"key {str(state.get('key'))[:12]}, {state.get('task')}")
        elif not isinstance(state["losses"], list) or not isinstance(state["learner"], dict):
            yield f"{one.name}: task {task}: its state is not one that a run keeps"


def difference(one: Submitted, task: int, what: str, claimed: object, found: object) -> str:
    """A line for a discrepancy."""
    return f"{one.name}: task {task}: {what}: {claimed} in the submission, {found} here"


_line = difference
