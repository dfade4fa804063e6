"""What a confirmation says, of which records, and for how long."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from published_records import ENVIRONMENT, make_record

from clsuite.board.confirm import by_commit, chosen_rows, confirmation_of, find_cases, problem_of
from clsuite.board.confirmed import Confirmation, Confirmations, Sources, confirmed_bytes, read_confirmed
from clsuite.board.rerun import _plugins_of_now
from clsuite.board.status import all_stale_notes, benchmark_notes, stale_notes
from clsuite.errors import UserError
from clsuite.plugin.catalog import find_plugin
from clsuite.records import PluginEntry, RunRecord, TaskEntry
from clsuite.records.record import RESULTS_VERSION
from clsuite.runner.record_config import stream_config
from clsuite.runner.spec import load_benchmark

OLD, NOW = "ab" * 32, find_plugin("ncm")[1].sha256
COMMIT = {**ENVIRONMENT, "commit": "cd" * 20, "dirty": False}


def old_record(method: str = "mine", seed: int = 0, version: int = RESULTS_VERSION - 1, **changes: Any) -> RunRecord:
    """A record of earlier sources, with its key."""
    entry = PluginEntry(name="ncm", args={}, source=OLD, distribution="clsuite 0.1.0")
    record = make_record(method, seed, **{"plugins": [entry], "environment": COMMIT, **changes})
    parts = (record.config, record.plugins, record.seed, record.scenario.fingerprint, version)
    return record.model_copy(update={"key": RunRecord.make_key(*parts)})


def confirmation(**changes: Any) -> Confirmation:
    given: dict[str, Any] = {
        "method": "mine", "kind": "class_incremental", "plugins": [{"name": "ncm", "old": OLD, "new": NOW}],
        "old_results": RESULTS_VERSION - 1, "new_results": RESULTS_VERSION, "canary": "quickstart/mine/0",
        "commit": "cd" * 20, "clsuite": "0.1.0",
    }  # fmt: skip
    return Confirmation.model_validate({**given, **changes})


def test_a_confirmed_record_has_not_changed() -> None:
    record = old_record()
    assert stale_notes(record) == [
        "clsuite itself gives other results since", "the source of plugin 'ncm' changed since",
    ]  # fmt: skip
    assert stale_notes(record, Confirmations([confirmation()])) == []
    assert all_stale_notes(record, None, Confirmations([confirmation()])) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "another"},
        {"kind": "domain_incremental"},
        {"old_results": RESULTS_VERSION},
        {"new_results": RESULTS_VERSION - 1},
        {"plugins": [{"name": "ncm", "old": "cd" * 32, "new": NOW}]},
        {"plugins": [{"name": "ncm", "old": OLD, "new": "cd" * 32}]},
        {"plugins": [{"name": "gone", "old": OLD, "new": NOW}]},
        {"plugins": [{"name": "ncm", "old": OLD, "new": NOW}] * 2},
    ],
)
def test_a_confirmation_is_of_its_own_content_alone(changes: dict[str, Any]) -> None:
    assert len(stale_notes(old_record(), Confirmations([confirmation(**changes)]))) == 2


def test_a_later_change_makes_the_row_stale_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("status", "confirmed"):
        monkeypatch.setattr(f"clsuite.board.{module}.RESULTS_VERSION", RESULTS_VERSION + 1)
    assert stale_notes(old_record(), Confirmations([confirmation()]))


def test_the_file_holds_what_was_confirmed_and_each_pair_once(tmp_path: Path) -> None:
    path = tmp_path / "confirmed.json"
    assert read_confirmed(path).entries == ()
    other = confirmation(method="b")
    path.write_bytes(confirmed_bytes(Confirmations([confirmation(), other])))
    both = read_confirmed(path)
    assert set(one.method for one in both.entries) == {"mine", "b"}
    again = both.with_entry(confirmation(commit="ef" * 20))
    assert [one.commit[:2] for one in again.entries if one.method == "mine"] == ["ef"]
    assert confirmed_bytes(read_confirmed(path)) == path.read_bytes()
    path.write_text("{")
    with pytest.raises(UserError, match=r"confirmed.json' is not valid: .*: restore it from the history"):
        read_confirmed(path)


def quickstart_record(trained: bool, without: tuple[str, ...] = (), **training: Any) -> RunRecord:
    """An earlier record of quickstart's ncm, whose training lacks some keys that came since."""
    spec = load_benchmark("quickstart")[0]
    asked = {**json.loads(json.dumps(spec.training.resolved().recorded())), **training}
    config = {
        **stream_config(spec), "training": {key: value for key, value in asked.items() if key not in without},
        "backbone": {"name": spec.backbone.name, "image_size": spec.backbone.image_size},
    }  # fmt: skip
    samples = 9 if trained else 0
    task = TaskEntry(train_seconds=1, eval_seconds=1, steps=2, gradient_samples=samples, final_loss=0.1)
    return old_record("ncm", benchmark="quickstart", config=config, tasks=[task] * 3)


def test_a_key_that_came_since_counts_as_confirmed_only_where_nothing_was_trained() -> None:
    """Of a method that trains, one canary does not tell what the key does in another row's training."""
    known = confirmation(method="ncm", training={"head_init": 0.001})
    differs = ["its training.head_init is not what benchmark 'quickstart' asks for"]
    for trained, confirmed, notes in ((False, known, []), (True, known, differs), (False, None, differs)):
        assert benchmark_notes(quickstart_record(trained, ("head_init",)), confirmed) == notes
    other = confirmation(method="ncm", training={"head_init": 0.02})
    assert benchmark_notes(quickstart_record(False, ("head_init",)), other) == differs
    assert benchmark_notes(quickstart_record(False, epochs=7), known) == [differs[0].replace("head_init", "epochs")]


def test_an_argument_that_came_since_counts_as_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clsuite.board.status.named_method", lambda *_: ([["ncm", {"shift": 0.5}]], {}))
    record, told = quickstart_record(True), ["its plugins is not what benchmark 'quickstart' asks for"]
    assert benchmark_notes(record) == told
    for value, notes in ((0.5, []), (0.7, told)):
        sources = Sources(name="ncm", old=OLD, new=NOW, args={"shift": value})
        assert benchmark_notes(record, confirmation(method="ncm", plugins=(sources,))) == notes


def test_rows_are_chosen_by_name_method_and_pattern() -> None:
    rows = ["a/lora (merged)/0", "a/ncm/0", "b/ncm/1", "b/x/y/0"]
    assert chosen_rows(rows, []) == rows
    assert chosen_rows(rows, ["ncm"]) == ["a/ncm/0", "b/ncm/1"]
    assert chosen_rows(rows, ["lora (merged)", "b/**"]) == ["a/lora (merged)/0", "b/ncm/1", "b/x/y/0"]
    assert chosen_rows(rows, ["x/y"]) == ["b/x/y/0"]
    assert chosen_rows(rows, ["b"]) == chosen_rows(rows, ["b/**"])
    with pytest.raises(UserError, match="unknown row, benchmark or method: 'nmc'"):
        chosen_rows(rows, ["nmc"])


def test_rows_made_alike_are_one_case_by_the_commit_of_most() -> None:
    other = {**COMMIT, "commit": "ee" * 20}
    records = {
        "tiny/mine/0": old_record(), "tiny/mine/1": old_record(seed=1), "more/mine/0": old_record(environment=other),
        "tiny/older/0": old_record("older", version=1), "tiny/now/0": make_record("now", 0),
    }  # fmt: skip
    cases, reasons = find_cases(records, Confirmations())
    assert reasons == {}
    assert [(case.commit[:2], len(case.rows), case.name) for case in cases] == [
        ("cd", 3, "quickstart/mine/0"), ("cd", 1, "quickstart/older/0"),
    ]  # fmt: skip
    assert [len(batch) for batch in by_commit([*cases, cases[0]])] == [2, 1]
    assert [case.record.method for case in find_cases(records, Confirmations([confirmation()]))[0]] == ["older"]


def test_rows_that_no_canary_can_make_current_are_told() -> None:
    stranger = PluginEntry(name="theirs", args={}, source=OLD, distribution="theirs 1.0")
    scenario = make_record("x", 0).scenario.model_copy(update={"kind": "blurry"})
    records = {
        "1": old_record(plugins=[stranger]),
        "2": old_record(scenario=scenario),
        "3": old_record().model_copy(update={"key": "ab" * 32}),
        "4": quickstart_record(False, epochs=7),
        "5": quickstart_record(True, ("head_init",)),
        "6": quickstart_record(False, ("head_init",)),
    }
    asks = "is not what benchmark 'quickstart' asks for: run it again, whatever a canary would give"
    cases, reasons = find_cases(records, Confirmations())
    assert [case.rows for case in cases] == [("6",)]
    assert {row: reason for reason, rows in reasons.items() for row in rows} == {
        "1": "plugin 'theirs' is not one of this version of clsuite",
        "2": "no canary learns blurry streams",
        "3": "its key does not follow from its content",
        "4": f"its training.epochs {asks}",
        "5": f"its training.head_init {asks}",
    }


def test_two_canaries_are_compared_to_the_last_count() -> None:
    case = find_cases({"tiny/mine/0": old_record()}, Confirmations())[0][0]
    old, new = old_record(), make_record("mine", 0)
    assert problem_of(case, old, new) == ""
    made = confirmation_of(case, old, new)
    assert made == confirmation(training={})
    assert json.loads(json.dumps(made.model_dump()))["canary"] == "quickstart/mine/0"
    assert old.counts is not None
    lines = [list(line) for line in old.counts.class_incremental]
    lines[0][0] += 1
    first = new.model_copy(update={"counts": old.counts.model_copy(update={"class_incremental": lines})})
    assert problem_of(case, old, first).startswith("1 counts differ, before any training alone; final accuracy")
    lines = [list(line) for line in old.counts.class_incremental]
    lines[2][0] -= 1
    later = new.model_copy(update={"counts": old.counts.model_copy(update={"class_incremental": lines})})
    assert problem_of(case, old, later).startswith("1 counts differ, first after task 2; final accuracy")
    failed = new.model_copy(update={"status": "failed", "error": "Traceback\nUserError: no\n"})
    assert problem_of(case, old, failed) == "its canary by the sources of now failed: UserError: no"
    assert problem_of(case, None, new) == "its canary by the earlier sources left no record"
    others = old_record(plugins=[old.plugins[0].model_copy(update={"source": "ee" * 32})])
    assert problem_of(case, others, new) == "the sources at commit cdcdcdcdc are not those that made it"


def test_a_confirmed_row_is_repeated_by_the_sources_of_now() -> None:
    record = old_record()
    assert _plugins_of_now(record, None) == record.plugins
    sources = Sources(name="ncm", old=OLD, new=NOW, args={"shift": 0.5})
    made = _plugins_of_now(record, confirmation(plugins=(sources,)))
    assert [(one.name, one.source, one.args) for one in made] == [("ncm", NOW, {"shift": 0.5})]


@pytest.mark.slow
def test_torch_waits_until_a_canary_runs() -> None:
    script = "import sys, clsuite.cli.confirm; assert not {'torch', 'lightning'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
