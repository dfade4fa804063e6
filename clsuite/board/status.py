"""The status of a published record: whether something has changed since, and the result of its rerun."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from clsuite.board.confirmed import (
    NONE,
    Confirmation,
    Confirmations,
    completed_args,
    completed_training,
    our_source,
)
from clsuite.board.model import Badge, Rerun
from clsuite.config.error_text import first_mistake
from clsuite.errors import UserError
from clsuite.plugin.loading import is_file
from clsuite.records import PluginEntry, RunRecord
from clsuite.records.canonical import canonical_json
from clsuite.records.record import RESULTS_VERSION
from clsuite.regular_files import read_bytes
from clsuite.report.format import rounded
from clsuite.runner.methods import parse_method
from clsuite.runner.record_config import stream_config
from clsuite.runner.resolve import method_config
from clsuite.runner.spec import BenchmarkSpec, load_benchmark, shipped_benchmarks

PUBLISHED = "final accuracy, published"
FREE = frozenset({"precision", "threads", "compile"})
"""Options of the training that each machine may choose."""


def read_rerun(path: Path, record: RunRecord) -> Rerun | None:
    """The report of a record's rerun; None if there is none.

    Args:
        path: The record's file; the report of its rerun is beside it.
        record: The record.

    Raises:
        UserError: If the report is not valid, or is of another record.
    """
    beside = path.with_suffix(".rerun.json")
    if not beside.exists():
        return None
    name = "/".join(beside.parts[-3:])
    try:
        rerun = Rerun.model_validate_json(read_bytes(beside))
    except OSError as error:
        raise UserError(f"'{name}' cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        raise UserError(f"'{name}' is not valid: {first_mistake(error, 'it')}") from error
    if rerun.key != record.key or rerun.figures.get(PUBLISHED) != published_accuracy(record):
        raise UserError(f"'{name}' reports the rerun of another record: remove it, or rerun the row")
    return rerun


def published_accuracy(record: RunRecord) -> float:
    """The final accuracy of a record, rounded as the report of a rerun repeats it."""
    return rounded(float(record.main_counts.accuracy[-1].mean())) or 0.0


def all_stale_notes(record: RunRecord, rerun: Rerun | None, confirmed: Confirmations = NONE) -> list[str]:
    """Why a published record is stale; empty if it is not.

    Args:
        record: The record.
        rerun: The result of its rerun, if there is one.
        confirmed: Which earlier sources give the same counts as the current ones.
    """
    other = rerun is not None and rerun.outcome == "other stream"
    notes = [*stale_notes(record, confirmed), *benchmark_notes(record, confirmed.of(record))]
    return [*notes, "the scenario or its data changed since"] if other else notes


def stale_notes(record: RunRecord, confirmed: Confirmations = NONE) -> list[str]:
    """What has changed since the run in clsuite or its own plugins; plugins of others are not compared.

    Sources that are confirmed to give the same counts as the current ones count as unchanged.
    """
    if confirmed.of(record):
        return []
    old = record.results_version() != RESULTS_VERSION
    notes = ["clsuite itself gives other results since"] if old else []
    for entry in record.plugins:
        source = our_source(entry.name)
        if source is None and _is_of_clsuite(entry):
            notes.append(f"plugin '{entry.name}' is unknown to this version")
        elif source is not None and source.sha256 != entry.source:
            notes.append(f"the source of plugin '{entry.name}' changed since")
    return notes


def uncompared(record: RunRecord) -> list[str]:
    """A line for each plugin of others, whose source is not compared because not every machine has it."""
    others = [entry for entry in record.plugins if our_source(entry.name) is None and not _is_of_clsuite(entry)]
    return [
        f"plugin '{entry.name}' of {entry.distribution}: its source is not compared"
        for entry in others
        if not is_file(entry.name)
    ]


def _is_of_clsuite(entry: PluginEntry) -> bool:
    return entry.distribution.startswith("clsuite ")


def benchmark_notes(record: RunRecord, confirmation: Confirmation | None = None) -> list[str]:
    """How the record differs from the shipped benchmark of its name, if there is one.

    A method is compared with what its name stands for in the benchmark; a method of an unknown name is not compared. An
    argument or a key that an older version did not have counts as a difference, unless the sources are confirmed to
    give the same counts: it then has the value of that confirmation (for keys of the training, see
    `completed_training`).
    """
    if record.benchmark not in shipped_benchmarks():
        return []
    spec = _shipped(record.benchmark)
    backbone = record.config.get("backbone") or {}
    expected = {**stream_config(spec), "backbone": (spec.backbone.name, spec.backbone.image_size)}
    recorded = {**record.config, "backbone": (backbone.get("name"), backbone.get("image_size"))}
    due, found = _as_read(expected), _as_read(recorded)
    differing = [name for name in expected if found.get(name) != due[name]]
    differing += _other_method(record, confirmation)
    return [f"its {', '.join(differing)} is not what benchmark '{record.benchmark}' asks for"] if differing else []


def _as_read(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration as a file returns it: tuples become lists."""
    content: dict[str, Any] = json.loads(canonical_json(config))
    return content


def _other_method(record: RunRecord, confirmation: Confirmation | None) -> list[str]:
    """Which parts of a method differ from what its name stands for."""
    named = named_method(record.benchmark, record.method)
    if named is None:
        return []
    plugins, training = named
    recorded = [
        [one.name, completed_args(one.args, confirmation, position)] for position, one in enumerate(record.plugins)
    ]
    trained = completed_training(record, confirmation)
    keys = sorted(key for key in training if key not in FREE and trained.get(key) != training[key])
    return ["plugins"] * (recorded != plugins) + [f"training.{key}" for key in keys]


@cache
def named_method(benchmark: str, method: str) -> tuple[Any, dict[str, Any]] | None:
    """What a method's name stands for; in foreign records, names of files or other packages are ignored."""
    spec = _shipped(benchmark)
    try:
        if method not in spec.named_methods and not all(our_source(use.name) for use in parse_method(method).plugins):
            return None
        plugins, training = method_config(spec, method)
    except UserError:
        return None
    return json.loads(canonical_json(plugins)), json.loads(canonical_json(training))


def has_setting(record: RunRecord, setting: str) -> bool:
    """Whether a record has the value of its benchmark for its method.

    Args:
        record: A record of a shipped benchmark.
        setting: An argument with its plugin, such as ``ewc.penalty``, or a field of the training.
    """
    named = named_method(record.benchmark, record.method)
    if named is None:
        return False
    recorded = [{one.name: one.args for one in record.plugins}, record.config.get("training")]
    due, found = (_value_at(setting, part) for part in ([dict(named[0]), named[1]], recorded))
    return due is not None and bool(due == found)


def _value_at(setting: str, parts: Sequence[Any]) -> Any:
    """The value of a setting in the first of some nested mappings that has it; None if none has."""
    for part in parts:
        for key in setting.split("."):
            part = part.get(key) if isinstance(part, dict) else None
        if part is not None:
            return part
    return None


@cache
def _shipped(name: str) -> BenchmarkSpec:
    return load_benchmark(name)[0]


def badge_of(notes: list[str], rerun: Rerun | None) -> Badge:
    """The badge of a published record."""
    if notes:
        return "stale"
    if rerun is None:
        return "measured"
    return "unconfirmed" if rerun.outcome == "different" else "confirmed"


def badge_of_row(badges: Sequence[Badge]) -> Badge:
    """The badge of a row: the first of these that one of its runs has."""
    order: tuple[Badge, ...] = ("stale", "unconfirmed", "confirmed", "measured")
    return min(badges, key=order.index)
