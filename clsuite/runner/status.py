"""The status of the runs of a folder, read from its files at any moment, by anyone who can read it.

Only a few lines of each record are read, so that it is fast for thousands.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from clsuite.config.paths import files_below
from clsuite.errors import InputWarning, UserError, warn_of
from clsuite.records import RecordError, read_record, reason_of
from clsuite.records.order import order_word
from clsuite.regular_files import read_bytes
from clsuite.runner.claims import STALE_AFTER, Holder, file_system_time, holder_of
from clsuite.runner.manifest import SUFFIX, read_manifest, record_path

FIELDS = ("benchmark", "method", "seed", "status", "seconds")
"""The lines of a record that are read, besides the reason of a failed one."""
KINDS = [[str, str, int, str, float], [str, str, int, str, int]]
"""The types of their values; if a record has others, it is read as a whole."""
CLAIM = ".claim"
ENDED = ("done", "failed", "timeout")


@dataclass(frozen=True)
class RunState:
    """The status of a run.

    Attributes:
        path: Path of its record.
        status: Status of its record; ``running`` if a process has it, ``waiting`` if there is no record.
        seconds: Seconds that it took, or has taken so far.
        reason: Why it has no result.
        holder: The process that has it.
        order: Name of its order, if that is apart from the seed.
        left: Seconds that it will still take; None if that is not known.
    """

    path: Path
    benchmark: str
    method: str
    seed: int
    status: str
    seconds: float = 0.0
    reason: str = ""
    holder: Holder | None = None
    left: float | None = None
    order: str = ""

    @property
    def name(self) -> str:
        """The name of the run for readers."""
        return f"{self.benchmark}: {self.method}, seed {self.seed}" + (f", order {self.order}" if self.order else "")


@dataclass
class FolderStatus:
    """The status of all runs of a folder.

    Attributes:
        runs: The runs by the path of their record.
    """

    runs: dict[Path, RunState] = field(default_factory=dict)

    def of(self, *statuses: str) -> list[RunState]:
        """The runs with some statuses."""
        return [run for run in self.runs.values() if run.status in statuses]

    @property
    def spent(self) -> float:
        """Seconds that runs have taken, including those under way."""
        return sum(run.seconds for run in self.runs.values())

    @property
    def to_come(self) -> float | None:
        """Seconds that runs will take, one after the other; None if there is nothing to estimate it from."""
        left = [run.left for run in self.of("running", "waiting", "interrupted")]
        known = [seconds for seconds in left if seconds is not None]
        return None if left and not known else sum(known) * len(left) / max(1, len(known))


def folder_status(folder: Path, stale_after: float = STALE_AFTER) -> FolderStatus:
    """The status of the runs of a folder.

    Args:
        folder: A folder of runs, or of one benchmark.
        stale_after: Seconds without a heartbeat after which nobody counts as working on a run.

    Raises:
        UserError: If there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"'{folder}' is not a folder of runs")
    found = [path for path in files_below(folder) if not path.name.startswith(".")]
    status = FolderStatus({run.path: run for path in found if _is_record(path) if (run := _recorded(path)) is not None})
    plans = [path for path in found if path.suffix == SUFFIX] or list(folder.parent.glob(f"*{SUFFIX}"))
    for planned in (run for path in plans for run in _planned(path)):
        if planned.path.is_relative_to(folder):  # else it is of another method, where the folder is one's
            status.runs.setdefault(planned.path, planned)
    _add_running(status, [path.with_suffix(".json") for path in found if path.suffix == CLAIM], stale_after)
    _add_left(status)
    return status


def _is_record(path: Path) -> bool:
    return path.suffix == ".json" and path.name.startswith("seed")


def _recorded(path: Path) -> RunState | None:
    """The status in the file of a record; None if there is none."""
    try:
        text = read_bytes(path)
        fields, order = {name: _line(text, name) for name in FIELDS}, _order(_config(text))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        fields, order = {}, ""
    if [type(value) for value in fields.values()] not in KINDS:
        fields, order = _parsed(path)
    if not fields:
        return None
    reason = "" if fields["status"] == "done" else _reason(path)
    return RunState(path=path, reason=reason, order=order, **fields)


def _line(text: bytes, name: str) -> Any:
    """The value of a top-level line of a record, as `clsuite.records.record_text` writes it.

    Raises:
        ValueError: If it is written in another way.
    """
    start = text.index(f'\n "{name}": '.encode()) + len(name) + 6
    return json.loads(text[start : text.index(b"\n", start)].rstrip(b","))


def _config(text: bytes) -> Any:
    """The configuration in a record, as `clsuite.records.record_text` writes it.

    Raises:
        ValueError: If it is written in another way.
    """
    before = b'\n "config": '
    return json.JSONDecoder().raw_decode(text[text.index(before) + len(before) :].decode())[0]


def _order(config: Any) -> str:
    """The name of the order that a configuration states; empty if it follows the seed."""
    return order_word(config) if isinstance(config, dict) else ""


def _parsed(path: Path) -> tuple[dict[str, Any], str]:
    """The same for a record that was written in another way."""
    try:
        record = read_record(path)
    except RecordError:
        return {}, ""
    return {name: getattr(record, name) for name in FIELDS}, _order(record.config)


def _reason(path: Path) -> str:
    try:
        record = read_record(path)
    except RecordError as error:
        return str(error)
    return "" if record.status in ("done", "interrupted") else reason_of(record)


def _planned(path: Path) -> Iterator[RunState]:
    """The runs of a manifest, as waiting runs."""
    try:
        manifest = read_manifest(path)
    except UserError as error:
        warn_of(f"left out, {error}", InputWarning)
        return
    for run in manifest.runs:
        order = _order(manifest.configs.get(run.config))
        yield RunState(record_path(path.parent, run), manifest.benchmark, run.method, run.seed, "waiting", order=order)


def _add_running(status: FolderStatus, claimed: Sequence[Path], stale_after: float) -> None:
    """Mark runs that a process has as running; runs of dead processes are waiting."""
    now = file_system_time(claimed[0].parent) if claimed else 0.0
    for path in claimed:
        holder, run = holder_of(path), status.runs.get(path)
        if holder is None or holder.is_gone or abs(now - holder.beat) > stale_after:
            continue
        if run is not None and run.status == "done":
            continue
        run = run or RunState(path, path.parent.parent.name, path.parent.name, _seed(path), "running")
        took = max(0.0, time.time() - holder.since) if holder.since else 0.0
        status.runs[path] = replace(run, status="running", seconds=took, reason="", holder=holder)


def _seed(path: Path) -> int:
    """The seed in the name of a record's file."""
    with suppress(ValueError):
        return int(path.name.removeprefix("seed").partition("-")[0])
    return 0


def _add_left(status: FolderStatus) -> None:
    """Estimate the time of each run: from its own pace, or from others of its method, of its benchmark, or any."""
    took: dict[tuple[str, ...], list[float]] = {}
    for run in status.of("done"):
        for name in ((run.benchmark, run.method), (run.benchmark,), ()):
            took.setdefault(name, []).append(run.seconds)
    means = {name: sum(seconds) / len(seconds) for name, seconds in took.items()}
    for path, run in status.runs.items():
        if run.status in ENDED:
            continue
        status.runs[path] = replace(run, left=_left(run, means))


def _left(run: RunState, means: Mapping[tuple[str, ...], float]) -> float | None:
    done = run.holder.progress.get("done") if run.holder else None
    if isinstance(done, int | float) and 0 < done <= 1:
        return run.seconds * (1 - done) / done
    names = ((run.benchmark, run.method), (run.benchmark,), ())
    whole = next((means[name] for name in names if name in means), None)
    return None if whole is None else max(0.0, whole - run.seconds)
