"""Runs that are done on a machine without the caller's disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from clsuite.errors import InputWarning, UserError
from clsuite.runner.executors import journey
from clsuite.runner.executors.journey import (
    AbsentWeightsError,
    Luggage,
    arrived,
    away,
    bring_home,
    files_of,
    keep_weights,
    marked,
    write_trackers,
)
from clsuite.runner.executors.ray_task import node_device
from clsuite.runner.manifest import make_manifest
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import RunPlan, make_plan
from clsuite.runner.spec import load_benchmark
from clsuite.trackers.journal import Row, new_rows

BUNDLED = Path(journey.__file__).parents[2] / "backbones" / "bundled" / "omniglot_vit.safetensors"
TINY: dict[str, Any] = {
    "name": "tiny", "dataset": {"name": "digits", "train_per_class": 5, "test_per_class": 4}, "scenario": {"tasks": 5},
    "limit_tasks": 1,
    "seeds": [0], "methods": {"mine": "./mine.py"}, "backbone": {"weights": "./net.safetensors"},
}  # fmt: skip
PLUGIN = "from clsuite.plugin import Plugin\nimport helper\nclass Mine(Plugin):\n    '''Mine.'''\n"


pytestmark = pytest.mark.filterwarnings(f"ignore::{InputWarning.__module__}.{InputWarning.__name__}")


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunPlan]:
    """A plan with a plugin file, a module beside it, and weights in a file."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "mine.py").write_text(PLUGIN)
    (home / "helper.py").write_text("A = 1\n")
    shutil.copy(BUNDLED, home / "net.safetensors")
    (home / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    spec, path = load_benchmark(str(home / "tiny.yaml"))
    (plan,) = make_plan(spec, path.parent, RunOptions(out=tmp_path / "runs", device="cpu"))
    monkeypatch.setattr(journey, "cache_folder", lambda: tmp_path / "cache")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    yield plan.whole_paths()
    journey._unpacked.cache_clear()


def luggage(plan: RunPlan, tmp_path: Path) -> Luggage:
    return Luggage(tmp_path / "mark", make_manifest([plan]).model_dump_json())


def sources(plan: RunPlan) -> list[tuple[str, str]]:
    return [(info.name, info.source.sha256) for info in plan.plugins if info.source]


def test_where_all_is_as_it_was_nothing_has_to_travel(plan: RunPlan, tmp_path: Path) -> None:
    assert arrived(plan, luggage(plan, tmp_path)) is plan


@pytest.mark.parametrize("change", ["mine.py", "helper.py"])
def test_a_plugin_file_travels_as_it_was_hashed(change: str, plan: RunPlan, tmp_path: Path) -> None:
    packed = luggage(plan, tmp_path)
    (tmp_path / "home" / change).write_text("A = 2\n")
    there = arrived(plan, packed)
    assert there is not plan
    assert sources(there) == sources(plan)
    assert Path(there.plugins[0].target.rpartition(":")[0]).read_text() == PLUGIN
    assert (there.record_path, there.weights, there.device) == (plan.record_path, plan.weights, "cpu")


def test_weights_are_found_by_their_hash_or_sent_once(plan: RunPlan, tmp_path: Path) -> None:
    packed = luggage(plan, tmp_path)
    shutil.rmtree(tmp_path / "home")
    with pytest.raises(AbsentWeightsError):
        arrived(plan, packed)
    keep_weights(plan, BUNDLED.read_bytes())
    there = arrived(plan, packed)
    assert there.weights.path == tmp_path / "cache" / "weights" / f"{plan.weights.sha256}.safetensors"
    assert sources(there) == sources(plan)
    keep_weights(plan, b"others")  # they are there already
    assert there.weights.path.read_bytes() == BUNDLED.read_bytes()


def test_weights_that_lie_elsewhere_below_the_data_root_need_not_be_sent(plan: RunPlan, tmp_path: Path) -> None:
    packed = luggage(plan, tmp_path)
    shutil.move(tmp_path / "home" / "net.safetensors", tmp_path / "home" / "moved.safetensors")
    there = arrived(replace(plan, data_root=tmp_path / "home"), packed)
    assert there.weights.path == tmp_path / "home" / "moved.safetensors"


def test_what_cannot_be_had_is_told(plan: RunPlan, tmp_path: Path) -> None:
    packed = Luggage(tmp_path / "mark", make_manifest([plan]).model_copy(update={"texts": {}}).model_dump_json())
    (tmp_path / "home" / "mine.py").unlink()
    with pytest.raises(UserError, match=r"mine\.py"):
        arrived(plan, packed)


def test_a_folder_is_shared_where_its_mark_is_seen(plan: RunPlan, tmp_path: Path) -> None:
    with marked(tmp_path) as mark:
        assert Luggage(mark, "").is_at_home
    assert not Luggage(mark, "").is_at_home
    assert list(tmp_path.glob(".shared*")) == []


def test_what_a_run_leaves_comes_home_and_its_checkpoint_stays(plan: RunPlan, tmp_path: Path) -> None:
    there = away(plan)
    assert there.record_path.is_relative_to(tmp_path / "cache")
    there.record_path.parent.mkdir(parents=True)
    for suffix in (".json", ".npz", ".log", ".ckpt"):
        there.beside(suffix).write_bytes(suffix.encode())
    files = files_of(there)
    assert [path.suffix for path in there.record_path.parent.iterdir()] == [".ckpt"]
    bring_home(plan, files)
    found = {path.suffix: path.read_bytes() for path in plan.record_path.parent.iterdir()}
    assert found == {".json": b".json", ".npz": b".npz", ".log": b".log"}


def test_a_journal_comes_home_to_what_is_there_and_trackers_receive_it_there(
    plan: RunPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracked = replace(plan, trackers=("csv", "mlflow"))
    gone = replace(tracked, plugins=(replace(plan.plugins[0], target="gone.py:Mine"),))
    there = arrived(gone, luggage(plan, tmp_path))
    assert there.trackers == ("csv", "mlflow")
    assert not there.trackers_later
    there = away(tracked)
    assert there.trackers_later
    started: list[tuple[Any, ...]] = []

    class Writer:
        def __init__(self, *given: Any) -> None:
            started.append(given)

        def end(self, status: str) -> None:
            started.append((status,))

    monkeypatch.setattr(journey, "WriterProcess", Writer)
    for numbers in ((1, 2), (2, 3)):  # it was restarted there, after a checkpoint behind step 1
        there.record_path.parent.mkdir(parents=True, exist_ok=True)
        there.beside(".journal").write_bytes(b"".join(Row("step", number, {}).line() for number in numbers))
        files = files_of(there)
        bring_home(tracked, files)
    with tracked.beside(".journal").open("rb") as opened:
        assert [row.number for row in new_rows(opened)] == [1, 2, 3]
    write_trackers(tracked, files, "done")
    assert started == [(tracked.beside(".journal"), ("csv", "mlflow")), ("done",)]
    assert write_trackers(tracked, {}, "done") is None


@pytest.mark.parametrize(
    ("device", "gpus", "environment", "expected"),
    [
        ("auto", [], {}, "cpu"),
        ("cpu", [1], {}, "cpu"),
        ("auto", [3], {}, "cuda:3"),
        ("cuda", ["3"], {"CUDA_VISIBLE_DEVICES": "1,3"}, "cuda:1"),
        ("cuda:1", [3], {}, "cuda:1"),
    ],
)
def test_a_run_computes_on_the_gpu_that_is_set_aside(
    device: str, gpus: list[int | str], environment: dict[str, str], expected: str
) -> None:
    assert node_device(device, gpus, environment) == expected
