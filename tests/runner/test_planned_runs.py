"""What is planned in a folder: data, from which a worker makes the very runs, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from clsuite.cli.main import main
from clsuite.errors import UserError
from clsuite.records import read_record
from clsuite.records.canonical import sha256_of_file
from clsuite.runner.manifest import (
    Restorer,
    find_manifests,
    read_manifest,
    record_path,
    unpack_texts,
    write_manifest,
)
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import RunPlan, make_plan
from clsuite.runner.recorded_inputs import NOTHING, Allowed
from clsuite.runner.spec import load_benchmark

TINY: dict[str, Any] = {
    "name": "tiny", "dataset": {"name": "digits", "train_per_class": 5, "test_per_class": 3},
    "scenario": {"tasks": 5}, "limit_tasks": 2, "training": {"epochs": 1}, "seeds": [0, 1],
    "methods": {"mine": "./mine.py+replay(capacity=20)"}, "probes": [{"kind": "calibration"}],
    "evaluation": {"every": 2},
}  # fmt: skip


@pytest.fixture
def plans(tmp_path: Path) -> list[RunPlan]:
    (tmp_path / "home").mkdir()
    helper = "from clsuite.plugin import Plugin\nclass Base(Plugin):\n    '''Does nothing.'''\n"
    (tmp_path / "home" / "helper.py").write_text(helper)
    (tmp_path / "home" / "mine.py").write_text("from helper import Base\nclass Mine(Base):\n    '''Likewise.'''\n")
    path = tmp_path / "home" / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    spec, path = load_benchmark(str(path))
    given = RunOptions(out=tmp_path / "runs", curve_points=7, save_model=True, keep_states=True, devices=2)
    return make_plan(spec, path.parent, given)


def test_a_plan_is_restored_as_it_was(plans: list[RunPlan], tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "tiny"
    path = write_manifest(folder, plans)
    assert write_manifest(folder, plans) == path
    assert find_manifests(tmp_path / "runs") == find_manifests(folder) == [path]
    manifest = read_manifest(path)
    restorer = Restorer(Allowed((tmp_path / "home",)), None, "cpu")
    restored = [restorer.plan(manifest, run, folder) for run in manifest.runs]
    for plan, again in zip(plans, restored, strict=True):
        assert again.pending.model_dump(mode="json") == plan.pending.model_dump(mode="json")
        for name in (
            "record_path",
            "weights",
            "dataset",
            "scenario",
            "probes",
            "save_model",
            "keep_states",
            "curve_points",
            "devices",
        ):
            assert getattr(again, name) == getattr(plan, name), name
        assert [info.target for info in again.plugins] == [info.target for info in plan.plugins]
        assert record_path(folder, manifest.runs[0]) == plans[0].record_path


def test_code_of_the_plan_runs_only_where_the_caller_says_so(plans: list[RunPlan], tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "tiny"
    manifest = read_manifest(write_manifest(folder, plans))
    with pytest.raises(UserError, match="--plugins-from FOLDER, or run the text that the plan holds with --trust"):
        Restorer(NOTHING, None, "cpu").plan(manifest, manifest.runs[0], folder)
    (tmp_path / "unpacked").mkdir()
    places = unpack_texts(manifest, tmp_path / "unpacked")
    assert [sorted(path.name for path in place.iterdir()) for place in places] == [["helper.py", "mine.py"]]
    plan = Restorer(Allowed(tuple(places)), None, "cpu").plan(manifest, manifest.runs[0], folder)
    assert plan.plugins[0].source is not None
    assert plan.plugins[0].source.sha256 == plan.pending.plugins[0].source
    (places[0] / "helper.py").write_text(
        "from clsuite.plugin import Plugin\nclass Base(Plugin):\n    '''Other.'''\n    x = 1\n"
    )
    with pytest.raises(UserError, match="changed since the run"):
        Restorer(Allowed(tuple(places)), None, "cpu").plan(manifest, manifest.runs[0], folder)


Edit = Callable[[dict[str, Any]], object]
EDITS: dict[str, tuple[Edit, str]] = {
    "key": (lambda content: content["runs"][0].update(key="0" * 64), "does not follow from its content"),
    "seed": (lambda content: content["runs"][0].update(seed=7), "does not follow from its content"),
    "no config": (lambda content: content["configs"].clear(), "is incomplete"),
    "devices": (lambda content: content["runs"][0].update(devices=10**6), "some parts would have no image"),
    "no stream": (lambda content: content["scenarios"].clear(), "is incomplete"),
}


@pytest.mark.parametrize("which", EDITS)
def test_a_plan_that_was_edited_is_refused(plans: list[RunPlan], tmp_path: Path, which: str) -> None:
    path = write_manifest(tmp_path / "runs" / "tiny", plans)
    content = json.loads(path.read_text())
    edit, complaint = EDITS[which]
    edit(content)
    path.write_text(json.dumps(content))
    manifest = read_manifest(path)
    with pytest.raises(UserError, match=complaint):
        Restorer(NOTHING, None, "cpu").plan(manifest, manifest.runs[0], path.parent)


@pytest.mark.parametrize(
    ("training", "complaint"),
    [
        (None, "it is empty"),
        ("x", "not clsuite's"),
        ({"threads": "x"}, "threads is 'x'"),
        ({"threads": 0}, "threads"),
    ],
)
def test_a_plan_whose_training_is_none_is_left_to_others(
    plans: list[RunPlan], tmp_path: Path, training: Any, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its key follows from its content, so that somebody has made it so."""
    path = write_manifest(tmp_path / "runs" / "tiny", plans[:1])
    content = json.loads(path.read_text())
    (config,) = content["configs"].values()
    config["training"] = training
    pending = plans[0].pending.model_copy(update={"config": config})
    content["runs"][0]["key"] = pending.recomputed_key()
    path.write_text(json.dumps(content))
    assert main(["work", str(tmp_path / "runs"), "--plugins-from", str(tmp_path / "home")]) == 1
    said = capsys.readouterr().err
    assert "left to others: " in said
    assert complaint in said


@pytest.mark.parametrize("name", ["../mine.py", "/tmp/mine.py", "a/../../mine.py", "mine.sh", "a\nb.py"])
def test_a_text_stays_in_its_folder(plans: list[RunPlan], tmp_path: Path, name: str) -> None:
    path = write_manifest(tmp_path / "runs" / "tiny", plans)
    content = json.loads(path.read_text())
    content["texts"] = {"x": {name: "print()"}}
    path.write_text(json.dumps(content))
    (tmp_path / "unpacked").mkdir()
    with pytest.raises(UserError, match="which belongs to no plugin"):
        unpack_texts(read_manifest(path), tmp_path / "unpacked")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"runs": 1}', "[" * 100_000, "\xff"])
def test_what_is_no_plan_is_told(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.plan").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match="plan"):
        read_manifest(tmp_path / "x.plan")
    assert main(["work", str(tmp_path)]) == 1
    assert "left to others: x.plan" in capsys.readouterr().err


def test_other_data_are_no_failure_but_left_to_others(
    tmp_path: Path, image_tree: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that has not the data of a plan leaves no record: another one may have them."""
    image_tree("mine")
    spec = {
        **TINY,
        "dataset": {"name": "image_folder", "path": "mine"},
        "scenario": {"tasks": 2},
        "methods": {"ncm": "ncm"},
        "probes": [],
    }
    spec["backbone"] = {"name": "omniglot_vit", "weights": "bundled", "image_size": 32}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({**spec, "limit_tasks": None, "seeds": [0]}))
    runs = str(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "own.yaml", "--plan-only", "--out", runs]) == 0
    assert capsys.readouterr().out == f"1 run planned, 0 done; workers: clsuite work {runs}\n"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["work", runs]) == 1
    assert "left to others: ncm, seed 0: " in capsys.readouterr().err
    assert list((tmp_path / "runs").rglob("*.json")) == []


def test_where_nothing_is_planned_work_says_how(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["work", str(tmp_path)]) == 2
    assert "clsuite bench NAME --plan-only" in capsys.readouterr().err


@pytest.mark.slow
def test_workers_do_what_was_planned_and_leave_nothing_behind(
    plans: list[RunPlan], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its records have the keys of the plan, and the plan is gone when all is done; failed runs are left alone."""
    path = write_manifest(tmp_path / "runs" / "tiny", plans)
    before = sha256_of_file(path)
    monkeypatch.chdir(tmp_path / "runs")
    assert main(["work", str(tmp_path / "runs"), "--timeout", "0.01", "--trust"]) == 1
    assert sha256_of_file(path) == before
    assert [read_record(plan.record_path).status for plan in plans] == ["timeout", "timeout"]
    capsys.readouterr()
    assert main(["work", str(tmp_path / "runs"), "--trust", "--no-wait"]) == 0
    assert "to do" not in capsys.readouterr().out
    assert main(["work", str(tmp_path / "runs"), "--trust", "--retry-failed"]) == 0
    records = [read_record(plan.record_path) for plan in plans]
    assert [(record.status, record.key) for record in records] == [("done", plan.pending.key) for plan in plans]
    assert all(plan.beside(".pt").exists() for plan in plans)
    assert not path.exists()
