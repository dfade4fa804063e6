"""clsuite analyze: the run of a record is done again and watched."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from clsuite.cli.main import main
from clsuite.records import RunRecord, read_record


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("analyze")
    words = ["bench", "quickstart", "--methods", "finetune,ncm", "--seeds", "0", "--limit-tasks", "2"]
    words += ["--set", "dataset.train_per_class=24", "--set", "dataset.test_per_class=8"]
    assert main([*words, "--epochs", "2", "--eval-every", "4", "--out", str(folder)]) == 0
    return {name: next((folder / "quickstart" / name).glob("*.json")) for name in ("finetune", "ncm")}


@pytest.mark.slow
def test_table_plot_and_distances(records: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    path, before = records["finetune"], records["finetune"].read_bytes()
    assert main(["analyze", "sensitivity", str(path), "-o", str(tmp_path / "moves.svg")]) == 0
    told = capsys.readouterr().out
    assert "sensitivity between epochs" in told
    assert "sensitivity between tasks" in told
    assert "the run came out again to the record's accuracy matrix" in told
    assert "note: adamw takes steps of about one size" in told
    rows = list(csv.DictReader((tmp_path / "moves.csv").open()))
    assert len([row for row in rows if row["kind"] == "attention qkv"]) == 2 * (2 * 2 + 1)
    assert {row["epoch"] for row in rows} == {"0", "1"}
    for row in rows:
        assert float(row["sensitivity"]) == pytest.approx(float(row["distance_l1"]) / int(row["parameters"]), rel=1e-6)
    plot = (tmp_path / "moves.svg").read_text()
    for word in ("attention projection", "patch embedding", "between tasks", "quickstart: finetune, seed 0"):
        assert word in plot
    assert path.read_bytes() == before
    assert not path.with_suffix(".ckpt").exists()


def changed(path: Path, to: Path, **values: Any) -> Path:
    content = json.loads(path.read_text())
    for name, value in values.items():
        content[name] = {**content[name], **value} if isinstance(value, dict) else value
    content["key"] = RunRecord.model_validate(content).recomputed_key()
    to.write_text(json.dumps(content))
    return to


def test_records_that_cannot_be_done_again(records: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    record = read_record(records["finetune"])
    plugin = {**record.plugins[0].model_dump(), "source": "0" * 64}
    backbone = {**record.config["backbone"], "weights": "file", "sha256": "1" * 64}
    cases: dict[str, tuple[Path, list[str]]] = {
        "took no gradient steps, so no parameter has changed": (records["ncm"], []),
        "is not a finished run but failed: ValueError: of the method": (
            changed(
                records["finetune"], tmp_path / "a.json", status="failed", error="Traceback\nValueError: of the method"
            ),
            [],
        ),
        "has changed since the run, which was made with": (
            changed(records["finetune"], tmp_path / "b.json", plugins=[plugin]),
            [],
        ),
        "the data found are not those that": (
            changed(records["finetune"], tmp_path / "c.json", scenario={"fingerprint": "2" * 64}),
            [],
        ),
        "with sha256 111111111111, and no file in": (
            changed(records["finetune"], tmp_path / "d.json", config={"backbone": backbone}),
            ["--data-root", str(tmp_path)],
        ),
        "cannot read the record": (tmp_path / "gone.json", []),
        "--out is 'x.txt', but must end in .svg, .png, .pdf": (records["finetune"], ["-o", "x.txt"]),
    }
    for told, (path, options) in cases.items():
        assert main(["analyze", "sensitivity", str(path), *options]) == 2
        complaint = capsys.readouterr().err.strip()
        assert told in complaint
        assert complaint.count("\n") == 0
