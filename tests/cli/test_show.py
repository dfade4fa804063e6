"""`clsuite show` and `clsuite table` on records that are not as others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from clsuite.cli.main import main
from clsuite.records import RunRecord, read_record
from clsuite.records.record import RESULTS_VERSION

ROOT = Path(__file__).parents[2]
TUNING = {
    "metric": "a_metric_of_later", "space": "x", "sampler": "grid", "sampler_seed": 0, "tasks": 2, "validation": 0.1,
    "seed": 0, "chosen": {"lr": 0.1}, "trials": [],
}  # fmt: skip


def a_record(folder: Path, **changes: Any) -> Path:
    """A published record with something changed."""
    records = (ROOT / "leaderboard" / "records" / "quickstart" / "ncm").glob("*.json")
    published = next(path for path in sorted(records) if not path.name.endswith(".rerun.json"))
    path = folder / "seed0.json"
    path.write_text(json.dumps({**json.loads(published.read_text()), **changes}))
    shutil.copy(published.with_suffix(".npz"), folder)
    return path


def test_a_metric_that_is_unknown_is_shown_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(a_record(tmp_path, tuning=TUNING))]) == 0
    assert "of the first 2 tasks of seed 0, a_metric_of_later: 0 trials" in capsys.readouterr().out


def test_readings_of_probes_are_shown_and_dashes_where_there_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = [0.5, None, None, None, None, 0.25]
    head = {
        "name": "head",
        "higher_is_better": True,
        "values": values,
        "correct": [2, None, None, None, None, 1],
        "n": 4,
    }
    silent = {"name": "calibration", "higher_is_better": False, "values": [None] * 6}
    assert main(["show", str(a_record(tmp_path, probes=[head, silent]))]) == 0
    told = capsys.readouterr().out
    lines = [line.replace("│", " ").replace("┃", " ").split() for line in told[told.index("probes:") :].splitlines()]
    assert ["nothing", "50.0", "-"] in lines
    assert ["task", "1", "-", "-"] in lines
    assert ["task", "5", "25.0", "-"] in lines
    assert main(["table", str(tmp_path / "seed0.json"), "--format", "csv"]) == 0


def test_the_accuracy_over_all_seen_classes_after_each_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = a_record(tmp_path)
    counts = read_record(path).counts
    assert counts is not None
    assert main(["show", str(path)]) == 0
    told = capsys.readouterr().out
    lines = [line.replace("│", " ").split() for line in told[told.index("accuracy in %") :].splitlines()]
    for row in range(5):
        right = sum(counts.class_incremental[row + 1][: row + 1])
        seen = f"{100 * right / sum(counts.n[: row + 1]):.1f}"
        assert next(line[2] for line in lines if line[:2] == ["task", str(row + 1)]) == seen


@pytest.mark.parametrize("command", ["show", "table"])
def test_a_finished_run_without_a_cost_is_one_line(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(a_record(tmp_path, cost=None))]) == 2
    said = capsys.readouterr().err
    assert ("a finished run has counts and a cost" in said, said.count("\n")) == (True, 1)


def test_a_table_of_a_pattern_takes_the_record_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = a_record(tmp_path)
    path.with_suffix(".npz").write_bytes(b"predictions")
    assert main(["table", str(path), str(path.with_suffix(".npz")), "--format", "csv"]) == 0
    assert "quickstart,ncm" in capsys.readouterr().out


def content_key(record: RunRecord, version: int) -> str:
    return RunRecord.make_key(record.config, record.plugins, record.seed, record.scenario.fingerprint, version)


def test_a_record_of_an_older_version_is_called_so_and_not_edited(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user's own records, of a version whose results were others, are as genuine as they were."""
    path = a_record(tmp_path)
    for version in range(1, RESULTS_VERSION + 2):
        path = a_record(tmp_path, key=content_key(read_record(path), version))
        assert main(["show", str(path)]) == 0
        said = capsys.readouterr().out
        older = f"made by an older version of clsuite (results version {version}; this one has {RESULTS_VERSION})"
        assert (older in said) == (version < RESULTS_VERSION)
        assert ("was edited: its key does not follow" in said) == (version > RESULTS_VERSION)


def test_an_edited_record_is_called_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(a_record(tmp_path, seed=77))]) == 0
    said = capsys.readouterr().out
    assert "this record was edited: its key does not follow from its content; its accuracies are not shown" in said
    assert "accuracy in %" not in said


def test_compare_tells_older_records_from_edited_ones() -> None:
    from clsuite.report.compare import _strange_keys

    folder = ROOT / "leaderboard" / "records" / "quickstart" / "ncm"
    record = read_record(next(path for path in sorted(folder.glob("*.json")) if ".rerun" not in path.name))
    now, old = (
        record.model_copy(update={"key": content_key(record, version)})
        for version in (RESULTS_VERSION, RESULTS_VERSION - 1)
    )
    edited, name = record.model_copy(update={"key": "ab" * 32}), f"ncm, seed {record.seed}"
    assert _strange_keys([now]) == []
    assert _strange_keys([old]) == [f"made by an older version of clsuite, whose results may differ: {name}"]
    assert "edited" in _strange_keys([edited])[0]


def test_a_method_is_shown_with_its_arguments_and_how_to_derive_from_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "replay"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("replay from clsuite")
    assert any(line.startswith("Chaudhry et al.") and line.endswith("rehearses the current task too.") for line in told)
    argument = "argument capacity_bytes, a whole number or null (default null)"
    assert f"{argument}: Size of the buffer in bytes, given instead of `capacity`." in told
    buffer = next(line for line in told if line.startswith("argument buffer, "))
    assert "one of reservoir, class_balanced, herding (default reservoir): ``reservoir`` (the paper's" in buffer
    assert buffer.endswith("need at least one exemplar for each class.")
    assert next(line for line in told if line.startswith("hooks: ")).endswith("transform_batch")
    assert told[-1] == "to derive from it: from clsuite_plugins.replay import Replay"


def test_a_method_in_a_file_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "er_shown.py"
    path.write_text(
        'from clsuite_plugins.replay import Replay\n\n\nclass Shown(Replay):\n    """Replays as ever."""\n\n'
        "    def __init__(self, on: bool = True, **kwargs):\n        super().__init__(**kwargs)\n"
    )
    assert main(["show", str(path)]) == 0
    told = capsys.readouterr().out
    assert "Replays as ever." in told
    assert "argument on, true or false (default true)" in told
    assert "argument capacity, a whole number or null (default 500)" in told
    assert f"file: {path}" in told
