"""Checks that a record has the right names: a shipped benchmark and its methods have one name each."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from clsuite.board.confirmed import our_source
from clsuite.board.status import FREE, named_method
from clsuite.errors import UserError
from clsuite.records import RunRecord
from clsuite.records.canonical import canonical_json
from clsuite.runner.methods import parse_method
from clsuite.runner.record_config import stream_config
from clsuite.runner.spec import load_benchmark, shipped_benchmarks


def benchmark_name_problem(record: RunRecord) -> str:
    """What its benchmark or its method should be called; empty if the names are right."""
    setup = _setup_of(record)
    if record.benchmark not in shipped_benchmarks():
        same = next((name for name, shipped in _shipped_setups().items() if shipped == setup), "")
        if same:
            return f"its benchmark '{record.benchmark}' is the shipped '{same}' under another name"
        return _other_plugins(record)
    known = load_benchmark(record.benchmark)[0].named_methods
    if record.method in known:
        return ""
    recorded = [[entry.name, entry.args] for entry in record.plugins]
    training = _without_free(record.config.get("training") or {})
    for name in known:
        expected = named_method(record.benchmark, name)
        if expected is not None and expected[0] == recorded and _without_free(expected[1]) == training:
            return f"its method '{record.method}' is '{name}' of the benchmark under another name"
    return _other_plugins(record)


def _other_plugins(record: RunRecord) -> str:
    """How the plugins of a method differ from those that its name consists of."""
    try:
        named = parse_method(record.method).plugins
    except (UserError, ValueError):
        return ""
    if not named or not all(our_source(use.name) for use in named):
        return ""
    recorded = [entry.name for entry in record.plugins]
    if [use.name for use in named] != recorded:
        return f"its method is called '{record.method}', but its plugins are {', '.join(recorded)}"
    for use, entry in zip(named, record.plugins, strict=True):
        if other := next((name for name, value in use.args.items() if entry.args.get(name) != value), ""):
            return f"its method is called '{record.method}', but {other} is {entry.args.get(other)!r}"
    return ""


def _without_free(training: dict[str, Any]) -> dict[str, Any]:
    """A training without the options that each machine may choose."""
    return {key: value for key, value in training.items() if key not in FREE}


def _setup_of(record: RunRecord) -> Any:
    config, backbone = record.config, record.config.get("backbone") or {}
    stream = {key: config.get(key) for key in ("dataset", "scenario", "limit_tasks")}
    return _read({**stream, "backbone": [backbone.get("name"), backbone.get("image_size")]})


@cache
def _shipped_setups() -> dict[str, Any]:
    """Stream and backbone of each shipped benchmark."""
    specs = {name: load_benchmark(name)[0] for name in shipped_benchmarks()}
    return {
        name: _read({**stream_config(spec), "backbone": [spec.backbone.name, spec.backbone.image_size]})
        for name, spec in specs.items()
    }


def _read(content: Any) -> Any:
    """A content as a file returns it: tuples become lists."""
    return json.loads(canonical_json(content))
