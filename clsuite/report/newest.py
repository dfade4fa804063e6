"""Selects the newest of several runs of the same method and seed, so that a folder with many attempts is readable."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clsuite.records import RunRecord
from clsuite.records.order import order_name, without_order

SHOWN = 4
"""Largest number of settings and files that are named."""
LONGEST = 40
"""Largest number of characters shown of a setting."""


def newest_runs(records: Mapping[Path, RunRecord]) -> tuple[dict[Path, RunRecord], list[str]]:
    """Select the records for one table: the newest setup of each benchmark, the newest configuration of each method.

    Records contain no time, so the modification time of their files is used. All seeds of a method must have the same
    configuration and source: older ones are omitted even if their seed was not run again.

    Args:
        records: Finished records by path.

    Returns:
        The selected records in the given order, and a line for each kind of difference because of which some were
        omitted: which they are, and what differs, from old to new.
    """
    references: dict[tuple[str, ...], tuple[Any, RunRecord]] = {}
    left: dict[Path, str] = {}
    for path in sorted(records, key=lambda path: (-path.stat().st_mtime_ns, path)):
        shared = _shared(records[path])
        known = [(references[name], content) for name, content in shared.items() if name in references]
        newer = next((record for (usual, record), content in known if usual != content), None)
        if newer is not None:
            left[path] = _differences(records[path], newer)
            continue
        for name, content in shared.items():
            references.setdefault(name, (content, records[path]))
    groups: dict[str, list[Path]] = {}
    for path, different in left.items():
        groups.setdefault(different, []).append(path)
    notes = [_note(different, {path: records[path] for path in paths}) for different, paths in groups.items()]
    return {path: record for path, record in records.items() if path not in left}, notes


def _shared(record: RunRecord) -> dict[tuple[str, ...], Any]:
    """The content that must be equal in all records of the same name; each run is also checked by itself."""
    benchmark, run = record.benchmark, (str(record.seed), order_name(record))
    return {
        ("method", benchmark, record.method): _settings(record),
        ("benchmark", benchmark): _setup(record),
        ("stream", benchmark, *run): record.scenario.fingerprint,
        ("run", benchmark, record.method, *run): record.key,
    }


def _setup(record: RunRecord) -> dict[str, Any]:
    """The setup that all methods of a benchmark share."""
    config = without_order(record.config)
    shared = {key: value for key, value in config.items() if key not in ("training", "probes")}
    return {**shared, "kind of stream": record.scenario.kind}


def _settings(record: RunRecord) -> dict[str, str]:
    """Everything that determines a run's result except seed, order and data, by dotted name."""
    settings = dict(_flat({**without_order(record.config), "kind of stream": record.scenario.kind}))
    for plugin in record.plugins:
        settings |= _flat(plugin.args, f"{plugin.name}.")
        settings[f"source of {plugin.name}"] = plugin.source[:12]
        for place, digest in (plugin.files or {}).items():
            settings[f"file {plugin.name}.{place}"] = digest[:12]
    return settings


def _flat(content: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _differences(old: RunRecord, new: RunRecord) -> str:
    """The settings that differ, old -> new; for different methods, only those that all methods share."""
    if old.method == new.method:
        before, after = _settings(old), _settings(new)
    else:
        before, after = dict(_flat(_setup(old))), dict(_flat(_setup(new)))
    names = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    changes = [f"{name} {_short(before.get(name))} -> {_short(after.get(name))}" for name in names[:SHOWN]]
    if len(names) > SHOWN:
        changes.append(f"{len(names) - SHOWN} more")
    if not changes and old.scenario.fingerprint != new.scenario.fingerprint:
        return "other images, labels or order of tasks"
    return ", ".join(changes) or "made by another version of clsuite"


def _short(value: str | None) -> str:
    if value is None:
        return "(none)"
    return value if len(value) <= LONGEST else f"{value[:LONGEST]}…"


def _note(different: str, runs: Mapping[Path, RunRecord]) -> str:
    seeds: dict[str, list[int]] = {}
    for record in sorted(runs.values(), key=lambda record: (record.method, record.seed)):
        seeds.setdefault(record.method, []).append(record.seed)
    names = [
        f"{method}, seed{'s' * (len({*own}) > 1)} {', '.join(str(seed) for seed in dict.fromkeys(own))}"
        for method, own in seeds.items()
    ]
    paths = [str(path) for path in sorted(runs)]
    more = f", {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return f"left out, older: {'; '.join(names)}: {different} ({', '.join(paths[:SHOWN])}{more})"
