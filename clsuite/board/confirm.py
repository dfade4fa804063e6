"""Confirms that earlier sources of a method give the same counts as the current ones, by one canary run of each.

A canary is the quickstart benchmark of the row's kind of stream, with seed 0, on the CPU of this machine. Its method is
the one that the old sources asked for there: the method as their own benchmark defines it, or else the row's plugins,
arguments and training. The current sources then run with the same arguments, whatever their own defaults are. A row of
a checkout with changes in other files is confirmed too: of its plugins the commit must have the very sources.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from clsuite.board.confirmed import Confirmation, Confirmations, Sources, made_with, our_source
from clsuite.board.rerun import matches
from clsuite.board.status import FREE, benchmark_notes, named_method, stale_notes
from clsuite.errors import UserError, did_you_mean
from clsuite.records import RecordError, RunRecord, read_record, reason_of
from clsuite.records.record import RESULTS_VERSION
from clsuite.regular_files import read_text
from clsuite.runner.methods import MethodSpec, PluginUse
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import RunPlan, make_plan
from clsuite.runner.spec import load_benchmark, shipped_benchmarks

CANARIES = {"class_incremental": "quickstart", "cross_domain": "mini_mtil", "domain_incremental": "digits_domains"}
"""The benchmark of a canary, by the kind of stream; a canary proves nothing about rows of another kind."""
SEED = 0


@dataclass(frozen=True)
class Case:
    """A method whose rows were made with other sources than the current ones.

    Attributes:
        record: One of its records.
        rows: All rows that were made with these sources, ``benchmark/method/seed``.
        commit: Commit that has these sources.
    """

    record: RunRecord
    rows: tuple[str, ...]
    commit: str

    @property
    def canary(self) -> str:
        """The benchmark of its canary."""
        return CANARIES[self.record.scenario.kind]

    @property
    def name(self) -> str:
        """The canary run, ``benchmark/method/seed``."""
        return f"{self.canary}/{self.record.method}/{SEED}"


def chosen_rows(rows: Iterable[str], wanted: Sequence[str]) -> list[str]:
    """Some rows, by their names, benchmarks, methods or a pattern such as ``quickstart/*/0``; all if nothing is named.

    Raises:
        UserError: If there is no such row, benchmark or method.
    """
    methods = {row: row.split("/", 1)[1].rpartition("/")[0] for row in rows}
    found: dict[str, None] = {} if wanted else dict.fromkeys(methods)
    for word in wanted:
        fitting = [row for row, method in methods.items() if word in (row, method, row.split("/")[0])]
        fitting = fitting or [row for row, method in methods.items() if matches(row, word) or fnmatchcase(method, word)]
        if not fitting:
            raise did_you_mean("row, benchmark or method:", word, {*methods, *methods.values()})
        found.update(dict.fromkeys(fitting))
    return list(found)


def find_cases(records: Mapping[str, RunRecord], confirmed: Confirmations) -> tuple[list[Case], dict[str, list[str]]]:
    """The canaries that are needed, and the rows for which there can be none, by the reason.

    Rows that are current, or confirmed already, are in neither.
    """
    groups: dict[Any, dict[str, RunRecord]] = {}
    reasons: dict[str, list[str]] = {}
    for row, record in sorted(records.items()):
        if not stale_notes(record, confirmed):
            continue
        if reason := _why_not(record):
            reasons.setdefault(reason, []).append(row)
        else:
            groups.setdefault(made_with(record), {})[row] = record
    return [_case(rows) for rows in groups.values()], reasons


def _case(rows: Mapping[str, RunRecord]) -> Case:
    """The case of rows that were made with the same sources, with the commit that most of them name."""
    commits = Counter(record.environment["commit"] for record in rows.values())
    commit = min(commits, key=lambda item: (-commits[item], item))
    record = next(record for record in rows.values() if record.environment["commit"] == commit)
    return Case(record, tuple(rows), commit)


def _why_not(record: RunRecord) -> str:
    """Why no canary can make a record current; empty if one can."""
    if record.scenario.kind not in CANARIES:
        return f"no canary learns {record.scenario.kind.replace('_', '-')} streams"
    if record.results_version() is None:
        return "its key does not follow from its content"
    for entry in record.plugins:
        if our_source(entry.name) is None:
            return f"plugin '{entry.name}' is not one of this version of clsuite"
    if notes := _lasting_notes(record):
        return f"{'; '.join(notes)}: run it again, whatever a canary would give"
    commit = record.environment.get("commit")
    if not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{40,64}", commit):
        return "it was not made from a checkout, so that no commit holds its sources"
    return ""


def _lasting_notes(record: RunRecord) -> list[str]:
    """What its benchmark would define differently even if every source were confirmed."""
    if record.benchmark not in shipped_benchmarks():
        return []
    named = named_method(record.benchmark, record.method)
    if named is None or len(named[0]) != len(record.plugins):
        return benchmark_notes(record)
    asked, training = named
    plugins = tuple(Sources(name=name, old="", new="", args=args) for name, args in asked)
    most = {key: value for key, value in training.items() if key not in FREE}
    return benchmark_notes(
        record,
        Confirmation(
            method=record.method, kind=record.scenario.kind, plugins=plugins, old_results=0, new_results=0,
            training=most, canary="", commit="", clsuite="",
        ),
    )  # fmt: skip


def write_old_benchmark(cases: Sequence[Case], site: Path, path: Path) -> None:
    """Write the canaries of some cases as a benchmark file that the old sources can read.

    Args:
        cases: Cases of one commit and one benchmark.
        site: The folder with the packages of that commit.
        path: The file to write.

    Raises:
        UserError: If those sources had no such benchmark.
    """
    earlier = site / "clsuite_benchmarks" / f"{cases[0].canary}.yaml"
    try:
        content = yaml.safe_load(read_text(earlier))
        named = {**content.pop("methods"), **content.pop("more_methods", {})}
    except (OSError, KeyError, AttributeError, TypeError, yaml.YAMLError) as error:
        raise UserError(f"commit {cases[0].commit[:9]} has no benchmark '{cases[0].canary}' to run") from error
    kept = {key: value for key, value in content.items() if key not in ("probes", "evaluation", "limit_tasks")}
    methods = {case.record.method: _old_method(case.record, named.get(case.record.method)) for case in cases}
    text = yaml.safe_dump({**kept, "seeds": [SEED], "methods": methods}, sort_keys=False, allow_unicode=True)
    path.write_text(text, encoding="utf-8")


def _old_method(record: RunRecord, named: Any) -> Any:
    """The method as the old benchmark defines it if that has the same plugins, else the record's own."""
    if named is not None:
        plugins = [use.name for use in MethodSpec.model_validate(named).plugins]
        if plugins == [entry.name for entry in record.plugins]:
            return named
    return {
        "plugins": [{"name": entry.name, "args": _no_grid(entry.args)} for entry in record.plugins],
        "training": record.config.get("training") or {},
    }


def _no_grid(args: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as a benchmark file writes them: a list is a grid unless it is inside another list."""
    return {name: [value] if isinstance(value, list) else value for name, value in args.items()}


def plan_new(old: RunRecord, out: Path, data_root: Path | None) -> RunPlan:
    """Plan the run of the current sources that corresponds to an old canary.

    Raises:
        UserError: If the current sources no longer accept an argument or an option of the training.
    """
    spec, path = load_benchmark(old.benchmark)
    plugins = tuple(PluginUse(name=entry.name, args=_no_grid(entry.args)) for entry in old.plugins)
    method = MethodSpec(plugins=plugins, training=old.config["training"])
    alone = spec.model_copy(
        update={"methods": {old.method: method}, "more_methods": {}, "probes": (), "evaluation": None,
                "limit_tasks": None}
    )  # fmt: skip
    options = RunOptions(out=out, data_root=data_root, seeds=(SEED,), device="cpu", no_feature_store=True)
    return make_plan(alone, path.parent, options)[0]


def old_canaries(out: Path) -> dict[str, RunRecord]:
    """The records of canaries by method, without unreadable ones."""
    found = {}
    for path in sorted(out.glob("*/*/*.json")):
        try:
            record = read_record(path)
        except RecordError:
            continue
        found[record.method] = record
    return found


def problem_of(case: Case, old: RunRecord | None, new: RunRecord | None) -> str:
    """Why two canaries do not confirm a case; empty if they do."""
    for which, record in (("earlier sources", old), ("sources of now", new)):
        if record is None:
            return f"its canary by the {which} left no record"
        if record.status != "done":
            return f"its canary by the {which} {record.status}: {reason_of(record)}"
    assert old is not None
    assert new is not None
    if made_with(old) != made_with(case.record):
        return f"the sources at commit {case.commit[:9]} are not those that made it"
    if old.scenario.fingerprint != new.scenario.fingerprint:
        return "the stream of the canary is another one since"
    return _difference(old, new)


def _difference(old: RunRecord, new: RunRecord) -> str:
    """Where the counts of two canaries differ; empty if they do not."""
    assert old.counts is not None
    assert new.counts is not None
    if old.counts == new.counts:
        return ""
    rows: set[int] = set()
    entries = 0
    for protocol in old.counts.protocols:
        lines = zip(getattr(old.counts, protocol), getattr(new.counts, protocol) or (), strict=False)
        for position, (first, second) in enumerate(lines):
            differing = sum(a != b for a, b in zip(first, second, strict=False))
            rows, entries = rows | ({position} if differing else set()), entries + differing
    if not entries:
        return "its canary was tested otherwise"
    where = "before any training alone" if rows == {0} else f"first after task {min(rows - {0})}"
    finals = [float(item.main_counts.accuracy[-1].mean()) for item in (old, new)]
    return f"{entries} counts differ, {where}; final accuracy {100 * finals[0]:.1f} then, {100 * finals[1]:.1f} now"


def confirmation_of(case: Case, old: RunRecord, new: RunRecord) -> Confirmation:
    """The confirmation that follows from two canaries with the same counts."""
    pairs = zip(old.plugins, new.plugins, strict=True)
    return Confirmation(
        method=case.record.method,
        kind=case.record.scenario.kind,
        plugins=tuple(
            Sources(name=item.name, old=item.source, new=two.source, args=_added(item.args, two.args))
            for item, two in pairs
        ),
        old_results=old.results_version() or 0,
        new_results=RESULTS_VERSION,
        training=_added(old.config["training"], new.config["training"]),
        canary=case.name,
        commit=case.commit,
        clsuite=version("clsuite"),
    )


def _added(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Keys that were added since, in nested settings too."""
    added: dict[str, Any] = {}
    for key, value in new.items():
        if key not in old:
            added[key] = value
        elif isinstance(value, Mapping) and isinstance(old[key], Mapping) and (inner := _added(old[key], value)):
            added[key] = inner
    return added


def by_commit(cases: Iterable[Case]) -> list[list[Case]]:
    """Cases in groups that one call of the old sources can run: one commit, one benchmark, each method once."""
    batches: dict[tuple[str, str, int], list[Case]] = {}
    seen: Counter[tuple[str, str, str]] = Counter()
    for case in cases:
        same = (case.commit, case.canary, case.record.method)
        batches.setdefault((case.commit, case.canary, seen[same]), []).append(case)
        seen[same] += 1
    return list(batches.values())
