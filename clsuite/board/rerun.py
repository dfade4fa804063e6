"""Repeats a published run from its record alone, and compares the results."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from clsuite.board.confirmed import NONE, Confirmation, Confirmations
from clsuite.board.index import digest_of, index_bytes, read_index
from clsuite.board.layout import Leaderboard
from clsuite.board.model import Rerun
from clsuite.board.sources import CLASS, STREAM, published_sources, sources_within
from clsuite.board.status import PUBLISHED, published_accuracy, read_rerun, stale_notes
from clsuite.board.validate.streams import Streams
from clsuite.errors import AbsentError, UserError, did_you_mean, shortened
from clsuite.plugin.recorded_plugin import NAME_FOLDER
from clsuite.records import PluginEntry, RunRecord, atomic_path
from clsuite.report.format import kind_of, machine_of, rounded
from clsuite.runner.file_names import file_name
from clsuite.runner.own_classes import recorded_files, recorded_uses
from clsuite.runner.plan import RunPlan
from clsuite.runner.recorded_inputs import (
    NOTHING,
    Allowed,
    known_benchmarks,
    restored_plugin,
    restored_probe,
    restored_stream,
    restored_weights,
)
from clsuite.runner.streams import recorded_stream

FINAL_TOLERANCE, ENTRY_TOLERANCE = 0.01, 0.05
"""Tolerances on another kind of machine: for the final accuracy, and for entries of the matrix and probe readings."""


def find_rows(place: Leaderboard, wanted: Sequence[str]) -> list[tuple[str, Path]]:
    """The records of some rows, by ``benchmark/method/seed`` or a pattern such as ``quickstart/*/0``.

    A star does not match ``/``, but ``**`` does, so that ``quickstart/*`` does not start the runs of all methods and
    seeds.

    Raises:
        UserError: If there is no such row.
    """
    rows = read_index(place)
    found: dict[str, Path] = {}
    for row in wanted:
        matching = [row] if row in rows else [name for name in rows if matches(name, row)]
        if not matching and re.search(r"[*?\[]", row):
            raise UserError(
                f"no row in '{place.index}' is like '{shortened(row)}': a row is BENCHMARK/METHOD/SEED, and '*' "
                "stops at '/' ('**' does not). For all runs of a benchmark: 'BENCHMARK/**'"
            )
        if not matching:
            raise did_you_mean(f"row in '{place.index}':", row, rows)
        for name in matching:
            benchmark, rest = name.split("/", 1)
            folder = place.records / benchmark / file_name(rest.rpartition("/")[0])
            found[name] = folder / f"{rows[name].key}.json"
    return list(found.items())


def matches(name: str, pattern: str) -> bool:
    """Whether a name matches a pattern: ``*`` and ``?`` do not match ``/``, ``**`` does, ``[ab]`` is a character set.

    It looks at each part of the pattern once, so that many stars do not make it slow.
    """
    ends = {0}
    for part in re.findall(r"\*\*|\[!?[^\]/]+\]|.", pattern, re.DOTALL):
        if part in ("*", "**"):
            for at, letter in enumerate(name):
                if at in ends and (part == "**" or letter != "/"):
                    ends.add(at + 1)
        else:
            ends = {at + 1 for at in ends if at < len(name) and _is_like(name[at], part)}
    return len(name) in ends


def _is_like(letter: str, part: str) -> bool:
    if part == "?":
        return letter != "/"
    if len(part) == 1:
        return letter == part
    return letter != "/" and fnmatchcase(letter, part)


def stream_changed(record: RunRecord, data_root: Path | None) -> str:
    """Why the record's stream is a different one now; empty if it is not.

    Raises:
        UserError: If the record was edited: it then describes no run.
        AbsentError: If the data are not available.
    """
    if record.results_version() is None:
        raise UserError("its key does not follow from its content: the record was edited")
    streams = Streams(data_root)
    problem = streams.problem(record)
    python_file = record.config.get("dataset") is None or any(
        part in ("dataset", "scenario") for part, _ in recorded_uses(record.config)
    )
    if streams.unchecked and not python_file:
        raise AbsentError(streams.unchecked[record.benchmark])
    return problem


def plan_rerun(
    record: RunRecord,
    target: Path,
    data_root: Path | None,
    device: str | None,
    benchmark: str | None,
    confirmed: Confirmations = NONE,
    allowed: Allowed = NOTHING,
    published: Path | None = None,
    with_probes: bool = True,
) -> RunPlan:
    """Plan the run that the record describes.

    Args:
        record: A finished record.
        target: File for the record of the rerun.
        data_root: Folder of data and weights.
        device: The device; by default the kind that it ran on.
        benchmark: The file of the benchmark, if it is not a shipped one.
        confirmed: Which earlier sources give the same counts as the current ones; rows of those are repeated with the
            current sources.
        allowed: What the record may cause to be imported or loaded.
        published: The record's file, if sources are published beside it.
        with_probes: Whether to measure its probes, whose images must be found for that.

    Raises:
        UserError: If a plugin has changed, or something that it needs is not available.
    """
    if notes := stale_notes(record, confirmed):
        raise UserError(f"{'; '.join(notes)}: a rerun would be of another method. Run it again, and add that record")
    dataset, scenario = restored_stream(record, allowed.download)
    known = known_benchmarks(*([benchmark] if benchmark else []))
    backbone = record.config["backbone"]
    probes = record.config.get("probes", []) if with_probes else []
    plugins = _plugins_of_now(record, confirmed.of(record))
    folders, beside = allowed.plugins_from, sources_within(published, allowed.plugins_from) if published else {}
    absent = _how_to_allow(published)
    restored = [
        restored_plugin(entry, folders, [item for item in [beside.get(f".{number}.py")] if item], absent=absent)
        for number, entry in enumerate(plugins, 1)
    ]
    own = [item for suffix, item in beside.items() if suffix.startswith(CLASS)]
    return RunPlan(
        pending=record.model_copy(
            update={"status": "interrupted", "counts": None, "probes": [], "within_task": None, "tasks": [],
                    "cost": None, "environment": {}, "seconds": 0.0, "predictions": None, "plugins": plugins}
        ),
        plugins=tuple(restored),
        weights=restored_weights(backbone, data_root, known, download=allowed.download),
        dataset=dataset,
        scenario=recorded_stream(scenario, folders, [beside[STREAM]] if STREAM in beside else [], absent),
        record_path=target, data_root=data_root,
        device=device or record.environment.get("device_type", "auto"),
        save_model=False, shares_features=False,  # a rerun must compute everything itself
        probes=tuple(restored_probe(entry, backbone["image_size"], data_root, known) for entry in probes),
        files=recorded_files(record.config, folders, own, absent),
    )  # fmt: skip


def _how_to_allow(published: Path | None) -> str:
    """How code that a row needs can be run, whether its sources are published beside it or not."""
    if published is None or not (there := published_sources(published)):
        return NAME_FOLDER
    names = " and ".join(f"'{item}'" for item in there.values())
    return f"it is published as {names}: read it, and then give --plugins-from {shlex.quote(str(published.parent))}"


def _plugins_of_now(record: RunRecord, confirmation: Confirmation | None) -> list[PluginEntry]:
    """The plugins of a record, with the current sources if these are confirmed to give the same counts."""
    if confirmation is None:
        return record.plugins
    pairs = zip(record.plugins, confirmation.plugins, strict=True)
    return [entry.model_copy(update={"source": item.new, "args": {**item.args, **entry.args}}) for entry, item in pairs]


def compare_rerun(old: RunRecord, new: RunRecord) -> Rerun:
    """The result of a rerun compared to the published record."""
    assert old.counts is not None
    assert new.counts is not None
    first, second = old.main_counts, new.main_counts
    entries = float(np.abs(first.accuracy - second.accuracy).max())
    finals = [float(counts.accuracy[-1].mean()) for counts in (first, second)]
    probes = _probe_difference(old, new)
    same = probes < 1e-6 and entries == 0 and _what_must_agree(old) == _what_must_agree(new)
    close = abs(finals[0] - finals[1]) <= FINAL_TOLERANCE and max(entries, probes) <= ENTRY_TOLERANCE
    return Rerun(
        key=old.key,
        date=datetime.now(UTC).date().isoformat(),
        machine=machine_of(new.environment),
        outcome="identical" if same else "within tolerance" if close and kinds_apart(old, new) else "different",
        figures={
            PUBLISHED: published_accuracy(old),
            "final accuracy, rerun": rounded(finals[1]) or 0.0,
            "largest difference of an entry of the matrix": rounded(entries) or 0.0,
            "largest difference of a reading of a probe": rounded(probes) or 0.0,
        },
    )


def _what_must_agree(record: RunRecord) -> list[Any]:
    """What a rerun on the same kind of machine must reproduce exactly."""
    assert record.cost is not None
    cost = record.cost.model_dump(include={"total_parameters", "trainable_parameters", "stored_bytes"})
    samples = [(task.steps, task.gradient_samples) for task in record.tasks]
    return [record.counts, record.within_task, record.scenario, cost, samples]


def _probe_difference(old: RunRecord, new: RunRecord) -> float:
    """The largest difference of a reading: absolute for accuracies, relative for other readings above 1.

    It is infinite if only one of the records has a reading.
    """
    readings = [{probe.name: np.array(probe.values, dtype=float) for probe in record.probes} for record in (old, new)]
    if {name: np.isnan(values).tolist() for name, values in readings[0].items()} != {
        name: np.isnan(values).tolist() for name, values in readings[1].items()
    }:
        return float("inf")
    differences = [
        np.abs(values - readings[1][name]) / np.maximum(1.0, np.abs(values)) for name, values in readings[0].items()
    ]
    return max((float(item) for each in differences for item in each[~np.isnan(each)]), default=0.0)


def kinds_apart(old: RunRecord, new: RunRecord) -> str:
    """How machine, precision or torch of two runs differ; empty if every count must be the same."""

    def kind(record: RunRecord) -> str:
        machine, precision = kind_of(record.environment)
        packages = record.environment.get("packages")
        torch = packages.get("torch") if isinstance(packages, dict) else None
        slow = "" if record.environment.get("fast_paths", True) else ", without fast paths"
        return f"{machine}, precision {precision}, torch {torch}{slow}"

    first, second = kind(old), kind(new)
    return "" if first == second else f"published on {first}; rerun on {second}"


def write_rerun(rerun: Rerun, path: Path, record: RunRecord, apart: str) -> Rerun | None:
    """Write the report of a rerun beside the record.

    Args:
        rerun: The result of the rerun.
        path: The file of the published record.
        record: That record.
        apart: How the machines differ: an identical rerun is not replaced by one on another kind of machine.

    Returns:
        The earlier rerun, if it is kept.
    """
    earlier = None
    with suppress(UserError):  # a report of another record, or a damaged one, is replaced
        earlier = read_rerun(path, record)
    if apart and earlier and earlier.outcome == "identical" and rerun.outcome in ("within tolerance", "different"):
        return earlier
    text = json.dumps(rerun.model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False)
    with atomic_path(path.with_suffix(".rerun.json")) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return None


def publish_rerun(
    place: Leaderboard, row: str, rerun: Rerun, path: Path, record: RunRecord, apart: str
) -> Rerun | None:
    """Write the report of a rerun of a published row, and its hash into the index.

    Args:
        place: The leaderboard.
        row: The row, ``benchmark/method/seed``.
        rerun: The result of the rerun.
        path: The file of the published record.
        record: That record.
        apart: As in `write_rerun`; an earlier report that ``rerun`` did not write is always replaced.

    Returns:
        The earlier rerun, if it is kept.
    """
    with place.locked():
        return _publish_rerun(place, row, rerun, path, record, apart)


def _publish_rerun(
    place: Leaderboard, row: str, rerun: Rerun, path: Path, record: RunRecord, apart: str
) -> Rerun | None:
    rows = read_index(place)
    if row not in rows or rows[row].key != record.key:
        raise UserError(f"another record was published as row '{row}' while it was repeated")
    trusted = digest_of(path, "rerun") == rows[row].rerun
    with atomic_path(place.index) as index:
        kept = write_rerun(rerun, path, record, apart if trusted else "")
        rows[row] = rows[row].model_copy(update={"rerun": digest_of(path, "rerun")})
        index.write_bytes(index_bytes(rows))
    return kept


def changed_stream(record: RunRecord, machine: str) -> Rerun:
    """The report for a record whose stream can no longer be made from the data."""
    return Rerun(
        key=record.key, date=datetime.now(UTC).date().isoformat(), machine=machine, outcome="other stream",
        figures={PUBLISHED: published_accuracy(record)},
    )  # fmt: skip
