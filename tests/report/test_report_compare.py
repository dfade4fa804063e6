"""Comparing two methods: hand-computed differences, the exact test against enumeration, refusals, exports."""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clsuite
from clsuite.api.result import RunResult
from clsuite.cli.main import main
from clsuite.errors import InputWarning, UserError
from clsuite.metrics import Counts
from clsuite.metrics.variants import forgetting_max_before_last, forgetting_over_time
from clsuite.records import RunRecord, write_record
from clsuite.report.compare import _points, compare, sign_flip_p, verdict
from clsuite.report.export import csv_table, latex_table, markdown_table
from clsuite.report.gather import gather, method_below, newest_of, one_method


def of(records: list[RunRecord], method: str) -> list[RunRecord]:
    return [record for record in records if record.method == method]


@pytest.mark.parametrize("number", [2, 3, 5, 6, 8])
def test_the_test_is_the_enumeration_of_all_sign_flips(number: int) -> None:
    random = np.random.RandomState(number)
    first, second = random.rand(number) + 0.3, random.rand(number)
    differences = first - second
    means = [abs(np.mean(differences * signs)) for signs in itertools.product((-1, 1), repeat=number)]
    wanted = np.mean([mean >= abs(differences.mean()) - 1e-12 for mean in means])
    assert sign_flip_p(first, second) == pytest.approx(wanted)


def test_differences_are_paired_by_seed(records: list[RunRecord]) -> None:
    replay, finetune = of(records, "replay"), of(records, "finetune")
    comparison = compare(replay[::-1], finetune)
    assert comparison.seeds == (0, 1, 2)
    by_hand = [
        np.mean(a.main_counts.accuracy[-1]) - np.mean(b.main_counts.accuracy[-1])
        for a, b in zip(replay, finetune, strict=True)
    ]
    assert comparison.metrics[0].differences == pytest.approx(by_hand)
    assert comparison.metrics[0].p == 0.25
    assert [part.name for part in comparison.parts] == ["1: a", "2: b", "3: c"]
    last = [
        a.main_counts.accuracy[-1, 2] - b.main_counts.accuracy[-1, 2] for a, b in zip(replay, finetune, strict=True)
    ]
    assert comparison.parts[2].differences == pytest.approx(last)


def test_the_verdict_names_the_better_whatever_the_order(records: list[RunRecord]) -> None:
    replay, finetune = of(records, "replay"), of(records, "finetune")
    for pair in ((replay, finetune), (finetune, replay)):
        text = verdict(compare(*pair))
        assert re.match(r"replay is \d+\.\d points better than finetune in final accuracy \(95 % interval", text)
        assert "p = 0.25 with three seeds" in text
        assert text.endswith("Three seeds cannot give p below 0.25.")
    assert "one run cannot exclude chance" in verdict(compare(replay[:1], finetune[:1]))


def with_right(record: RunRecord, method: str, right: int) -> RunRecord:
    """A record of another method that gets so many of the first part's 20 images right at the end, no others."""
    assert record.counts is not None
    counts = record.counts.model_copy(update={"class_incremental": [[0, 0, 0]] * 3 + [[right, 0, 0]]})
    return record.model_copy(update={"method": method, "key": f"{method}-{record.seed}", "counts": counts})


def test_the_verdict_where_means_are_level_or_hardly_apart(records: list[RunRecord]) -> None:
    runs = of(records, "replay")[:2]
    ours, theirs = (
        [with_right(r, m, n) for r, n in zip(runs, ns, strict=True)] for m, ns in (("a", (9, 5)), ("b", (5, 9)))
    )
    assert verdict(compare(ours, theirs)).startswith("b and a are level in final accuracy on average (95 % interval -")
    assert "p = 1 with two seeds" in verdict(compare(ours, theirs))
    same = [with_right(r, "b", n) for r, n in zip(runs, (9, 5), strict=True)]
    assert verdict(compare(ours, same)) == "a and b have the same final accuracy over two seeds."
    assert _points(0.00001) == "0.001"
    assert [_points(0.0), _points(0.0123), _points(-0.2)] == ["0.0", "1.2", "-20.0"]


def test_names_of_parts_that_are_not_there_are_told(records: list[RunRecord]) -> None:
    replay, finetune = of(records, "replay"), of(records, "finetune")
    odd = [r.model_copy(update={"scenario": r.scenario.model_copy(update={"part_names": [*"abcd"]})}) for r in replay]
    with pytest.raises(UserError, match="'replay' with seed 0 names 4 test parts and counts 3"):
        compare(odd, finetune)


def test_what_cannot_be_compared_is_refused_with_the_reason(records: list[RunRecord]) -> None:
    replay, finetune = of(records, "replay"), of(records, "finetune")
    with pytest.raises(UserError, match=r"seeds 0, 1, 2 and 'finetune' has 0, 1; .* --seeds 0,1"):
        compare(replay, finetune[:2])
    other = [r.model_copy(update={"scenario": r.scenario.model_copy(update={"fingerprint": "x"})}) for r in finetune]
    with pytest.raises(UserError, match="learned different streams"):
        compare(replay, other)
    kind = [r.model_copy(update={"scenario": r.scenario.model_copy(update={"kind": "blurry"})}) for r in finetune]
    with pytest.raises(UserError, match="class_incremental and blurry"):
        compare(replay, kind)
    with pytest.raises(UserError, match="are the same run"):
        compare(replay, replay)


def test_runs_of_several_kinds_of_machine_or_precision_are_told(records: list[RunRecord]) -> None:
    def of_kind(method: str, *precisions: str) -> list[RunRecord]:
        kinds = [{"device_type": "cpu", "device": "X", "precision": precision} for precision in precisions]
        runs = of(records, method)
        return [run.model_copy(update={"environment": kind}) for run, kind in zip(runs, kinds, strict=True)]

    alike = of_kind("replay", *["32-true"] * 3)
    assert not [note for note in compare(alike, of_kind("finetune", *["32-true"] * 3)).notes if "kinds" in note]
    note = compare(alike, of_kind("finetune", "32-true", "bf16-mixed", "bf16-mixed")).notes[0]
    assert note == (
        "the runs are of 2 kinds of machine and precision, part of a difference may be theirs: "
        "replay (seeds 0, 1, 2), finetune (seed 0) on cpu: X in 32-true; finetune (seeds 1, 2) on cpu: X in bf16-mixed"
    )


def test_forgetting_over_time_ends_in_the_metric() -> None:
    counts = Counts.of([[0, 0, 0], [10, 0, 0], [6, 8, 0], [7, 4, 9]], [10, 10, 10])
    over_time = forgetting_over_time(counts)
    assert np.isnan(over_time[0])
    assert over_time[1:] == pytest.approx([0.4, 0.35])
    assert over_time[-1] == pytest.approx(forgetting_max_before_last(counts))


def test_tables_hold_every_method_and_escape_its_name(records: list[RunRecord]) -> None:
    named = [r.model_copy(update={"method": "[a_b & 50% | {x}"}) for r in of(records, "replay")] + of(records, "joint")
    latex = latex_table(named, [])
    assert r"{[}a\_b \& 50\% | \{x\}" in latex
    assert latex.count(r"\toprule") == latex.count(r"\bottomrule") == 1
    rows = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1
    assert r"\[a\_b &amp; 50% \| {x}" in markdown_table(named, [])
    lines = list(csv.DictReader(csv_table(named, ["final_accuracy_macro"]).splitlines()))
    assert [line["method"] for line in lines] == ["joint", "[a_b & 50% | {x}"]
    formula = [
        r.model_copy(update={"method": '=HYPERLINK("http://x")', "benchmark": "-1"}) for r in of(records, "joint")[:1]
    ]
    line = next(csv.DictReader(csv_table(formula, ["backward_transfer", "stored_bytes"]).splitlines()))
    assert (line["benchmark"], line["method"]) == ("'-1", """'=HYPERLINK("http://x")""")
    assert float(line["backward_transfer"]) < 0.5  # a number is not a formula
    assert [line[f"{name}_interval"] for name in ("backward_transfer", "stored_bytes")] == ["", ""]  # one seed has none
    assert (line["stored_bytes"], "61.4 kB" in latex_table(formula, ["stored_bytes"])) == ("61440", True)
    assert list(lines[0]) == ["benchmark", "method", "seeds", "final_accuracy_macro", "final_accuracy_macro_interval"]


@pytest.fixture
def runs(records: list[RunRecord], tmp_path: Path) -> Path:
    for record in records:
        write_record(record, tmp_path / "runs" / record.method / f"seed{record.seed}.json")
    return tmp_path / "runs"


def test_the_commands(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "replay", "finetune", "--runs", str(runs)]) == 0
    by_name = capsys.readouterr().out
    assert main(["compare", str(runs / "replay"), str(runs / "finetune")]) == 0
    assert capsys.readouterr().out == by_name
    assert "cannot give p below 0.25" in by_name
    assert main(["compare", "replai", "finetune", "--runs", str(runs)]) == 2
    assert "Did you mean 'replay'?" in capsys.readouterr().err
    assert main(["compare", str(runs), str(runs / "finetune")]) == 2
    assert "holds 3 methods (finetune, joint, replay)" in capsys.readouterr().err
    assert main(["table", str(runs), "--format", "latex"]) == 0
    assert r"\bottomrule" in capsys.readouterr().out
    assert main(["table", str(runs), "--columns", "final_acc"]) == 2
    assert "unknown column 'final_acc'" in capsys.readouterr().err


def newer(record: RunRecord, path: Path, **changes: Any) -> None:
    """Write a record as one that was made after all others, of another configuration."""
    write_record(record.model_copy(update={"key": f"{record.method}-{path.stem}", **changes}), path)
    os.utime(path, ns=(2**61, 2**61))


EVERYWHERE = (["table"], ["table", "--format", "csv"], ["plot"], ["plot", "--kind", "forgetting"])


@pytest.mark.parametrize("command", EVERYWHERE)
def test_of_two_runs_of_one_seed_the_newest_is_taken_and_the_difference_told(
    runs: Path, records: list[RunRecord], capsys: pytest.CaptureFixture[str], command: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for record in of(records, "replay"):
        newer(record, runs / "replay" / f"seed{record.seed}-tuned.json", config={"training": {"epochs": 8}})
    assert main([*command, str(runs / "replay")]) == 0
    said = capsys.readouterr()
    assert said.err.count("left out, older") == 1
    assert "replay, seeds 0, 1, 2: training.epochs (none) -> 8" in said.err
    assert str(runs / "replay" / "seed0.json") in said.err
    assert "3 runs" in said.out or said.out.count("replay") == 1


def test_seeds_of_an_earlier_configuration_are_left_out_although_they_were_not_run_again(
    runs: Path, records: list[RunRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    newer(of(records, "replay")[0], runs / "replay" / "seed0-new.json", config={"training": {"lr": 0.5, "epochs": 2}})
    assert main(["table", str(runs), "--format", "csv"]) == 0
    said = capsys.readouterr()
    seeds = {line.split(",")[1]: line.split(",")[2] for line in said.out.splitlines()[1:]}
    assert seeds == {"joint": "0 1 2", "replay": "0", "finetune": "0 1 2"}
    assert "replay, seeds 0, 1, 2: training.epochs (none) -> 2, training.lr (none) -> 0.5 (" in said.err
    assert main(["compare", "replay", "finetune", "--runs", str(runs), "--seeds", "0"]) == 0
    assert "left out, older: replay, seeds 0, 1, 2" in capsys.readouterr().err


def test_an_argument_and_one_character_of_the_source_are_differences(runs: Path, records: list[RunRecord]) -> None:
    old = of(records, "replay")[0]
    for changes, told in (
        ({"source": "0123456789abcdef"}, "source of replay  -> 0123456789ab"),
        ({"args": {"capacity": 5}}, "replay.capacity (none) -> 5"),
    ):
        newer(old, runs / "replay" / "new.json", plugins=[old.plugins[0].model_copy(update=changes)])
        found = one_method(runs / "replay")
        assert [record.key for record in found.records.values()] == ["replay-new"]
        assert told in found.left_out[0]


def test_an_older_backbone_of_a_method_that_was_dropped_blocks_nothing(
    runs: Path, records: list[RunRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    for method in ("replay", "joint"):
        for record in of(records, method):
            path = runs / method / f"seed{record.seed}-new.json"
            newer(record, path, config={"backbone": {"name": "vit"}})
    assert main(["table", str(runs), "--format", "csv"]) == 0
    said = capsys.readouterr()
    assert [line.split(",")[1] for line in said.out.splitlines()[1:]] == ["joint", "replay"]
    assert "finetune, seeds 0, 1, 2" in said.err
    assert said.err.count("backbone.name (none) -> vit") == 1
    assert "5 more)" in said.err


def test_runs_on_other_data_are_left_out(runs: Path, records: list[RunRecord]) -> None:
    old = of(records, "replay")[0]
    newer(old, runs / "replay" / "new.json", scenario=old.scenario.model_copy(update={"fingerprint": "x"}))
    found = one_method(runs / "replay")
    assert "replay, seed 0: other images, labels or order of tasks" in found.left_out[0]
    assert sorted(record.seed for record in found.records.values()) == [0, 1, 2]
    assert any(record.key == "replay-new" for record in found.records.values())


def test_python_compares_as_the_command_does(
    runs: Path, records: list[RunRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    newer(of(records, "replay")[1], runs / "replay" / "seed1-new.json", config={"training": {"epochs": 2}})
    with pytest.warns(InputWarning, match=r"left out, older: replay, seeds 0, 1, 2: training.epochs"):
        comparison = clsuite.compare("replay", "finetune", runs=runs, seeds=[1])
    assert main(["compare", "replay", "finetune", "--runs", str(runs), "--seeds", "1"]) == 0
    assert str(comparison).splitlines()[0] in capsys.readouterr().out
    results = [RunResult(record, runs) for record in of(records, "joint")]
    assert clsuite.compare(results, runs / "finetune").seeds == (0, 1, 2)
    with pytest.raises(UserError, match="no finished run with seed 7"):
        clsuite.compare(results[0], results[1], seeds=[7])


def test_the_same_runs_in_any_order_are_all_taken(runs: Path) -> None:
    found = newest_of(gather([runs]), "here")
    assert len(found.records) == 9
    assert found.left_out == ()


def test_a_folder_is_no_file_to_write(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = runs.parent / "there.svg"
    folder.mkdir()
    for command in (["plot", str(runs), "-o"], ["table", str(runs), "--format", "csv", "-o"]):
        assert main([*command, str(folder)]) == 2
        assert f"cannot write '{folder}': Is a directory" in capsys.readouterr().err


@pytest.mark.slow
def test_a_pipe_without_arrows_and_a_record_that_commands_the_terminal(runs: Path, records: list[RunRecord]) -> None:
    evil = of(records, "replay")[0].model_copy(update={"method": "a\x1b[2Jb", "key": "evil"})
    write_record(evil, runs / "evil" / "seed0.json")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    commands = [
        ["table", str(runs)],
        ["show", str(runs / "evil" / "seed0.json")],
        ["compare", str(runs / "joint"), str(runs / "finetune")],
    ]
    code = (
        "import json, sys; from clsuite.cli import main, show; from clsuite.report import gather;"
        "show.why_untrue = gather.why_untrue = lambda record, path: '';"  # these records are made up
        "assert [main.main(words) for words in json.loads(sys.argv[1])] == [0, 0, 0]"
    )
    given = [sys.executable, "-c", code, json.dumps(commands)]
    done = subprocess.run(given, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"replay") >= 1
    assert b"\x1b" not in done.stdout


@pytest.mark.parametrize(("kind", "ending"), [("curve", "pdf"), ("matrix", "png"), ("forgetting", "svg")])
def test_plots_of_a_set_are_the_same_bytes_twice(runs: Path, kind: str, ending: str) -> None:
    files = [runs.parent / f"{name}.{ending}" for name in "ab"]
    for file in files:
        assert main(["plot", str(runs), "--kind", kind, "-o", str(file)]) == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_bytes()[:4] in (b"%PDF", b"\x89PNG", b"<?xm")


def test_a_plot_that_cannot_be_is_refused(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", str(runs), "-o", "x.gif"]) == 2
    assert "must end in .svg, .png, .pdf" in capsys.readouterr().err
    assert main(["plot", str(runs), "--kind", "probes"]) == 2
    assert "none of these records has probes" in capsys.readouterr().err


def test_a_method_is_found_without_its_arguments_where_that_names_one(records: list[RunRecord], tmp_path: Path) -> None:
    names = {"replay": "er_ace.py(capacity=50)", "finetune": "replay(capacity=50)", "joint": "replay(capacity=90)"}
    for number, record in enumerate(records):
        write_record(record.model_copy(update={"method": names[record.method]}), tmp_path / f"seed{number}.json")
    found = method_below(tmp_path, "er_ace").records.values()
    assert {record.method for record in found} == {"er_ace.py(capacity=50)"}
    with pytest.raises(UserError, match=r"'replay'\. Did you mean 'replay\(capacity=50\)' or 'replay\(capacity=90\)'"):
        method_below(tmp_path, "replay")


def test_a_method_is_found_however_its_blanks_and_quotation_marks_are(records: list[RunRecord], tmp_path: Path) -> None:
    names = {"replay": "pet(kind='lora', size=1)", "finetune": "pet(kind='lora', size=64)", "joint": "pet"}
    for number, record in enumerate(records):
        write_record(record.model_copy(update={"method": names[record.method]}), tmp_path / f"seed{number}.json")
    for written in ("pet(kind=lora,size=64)", 'pet(kind="lora", size=64)', "pet(kind='lora', size=64)"):
        assert {record.method for record in method_below(tmp_path, written).records.values()} == {names["finetune"]}
    assert {record.method for record in method_below(tmp_path, "pet").records.values()} == {"pet"}
