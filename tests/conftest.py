"""Fixtures that all tests share: a cache of their own, the real data, and tiny real streams.

The process that hands out the tests reads this file too, so what takes seconds to import is imported where it is used.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from clsuite.plugin import Plugin
    from clsuite.scenarios import Scenario
    from clsuite.stream.loop import Stream

DATA_VARIABLE = "CLSUITE_TEST_DATA"
LONG_FILES = (
    "test_device.py",
    "test_registered.py",
    "test_isolation.py",
    "test_rehearsal_methods.py",
    "test_runs.py",
    "test_shared_run.py",
    "test_ranks.py",
    "test_finite.py",
    "test_mistakes.py",
    "test_quickstart.py",
    "test_shipped_benchmarks.py",
    "test_board_confirm.py",
    "test_probes.py",
    "test_steps.py",
    "test_distribution.py",
    "test_interpreters.py",
    "test_tracked_runs.py",
    "test_writer.py",
)
"""Files that take longest, or are few tests for the time that they take."""


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores, four at most: some tests wait for processes that end by themselves."""
    return min(4, len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1) + 1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let nightly tests be slow ones, and put files that take long first.

    So at the end no process is left with a long file while the others are done.
    """
    for item in items:
        if item.get_closest_marker("nightly"):
            item.add_marker("slow")
    places = {name: place for place, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """As many processes as there are cores run these tests: more threads would only wait for one another."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.environ.get("CLSUITE_CACHE")
    os.environ["CLSUITE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["CLSUITE_CACHE"]
    else:
        os.environ["CLSUITE_CACHE"] = before


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data and weights; tests that need it are skipped only where the variable is not set."""
    folder = os.environ.get(DATA_VARIABLE)
    if folder is None:
        pytest.skip(f"{DATA_VARIABLE} is not set")
    assert Path(folder).is_dir(), f"{DATA_VARIABLE} names '{folder}', which is not a folder"
    return Path(folder)


@pytest.fixture
def image_tree(tmp_path: Path) -> Callable[..., Path]:
    """Makes image folders: a color per class with noise, so that they can be learned."""
    import numpy as np
    from PIL import Image

    def make(
        name: str = "tree", classes: int = 4, train: int = 8, test: int = 4, domains: tuple[str, ...] = ()
    ) -> Path:
        random = np.random.RandomState(0)
        colors = random.randint(0, 256, (classes, 1, 1, 3))
        for domain in domains or ("",):
            shift = random.randint(-30, 30, 3)
            for part, number in (("train", train), ("test", test)):
                for label in range(classes):
                    folder = tmp_path / name / domain / part / f"class{label}"
                    folder.mkdir(parents=True)
                    for index in range(number):
                        noise = random.randint(-40, 40, (16, 16, 3))
                        pixels = np.clip(colors[label] + shift + noise, 0, 255).astype(np.uint8)
                        Image.fromarray(pixels).save(folder / f"{index}.png")
        return tmp_path / name

    return make


@pytest.fixture(scope="session")
def scenario() -> Scenario:
    """Three tasks of two digits, 13 training and some 13 test images of each digit."""
    from clsuite.data.datasets import load_table
    from clsuite.data.spec import DatasetSpec
    from clsuite.scenarios import Scenario, ScenarioSpec, build_scenario

    table = load_table(DatasetSpec(name="digits"), 32)
    whole = build_scenario(table, ScenarioSpec(tasks=5, validation=0.1), seed=0, train_per_class=14)
    tasks = tuple(dataclasses.replace(task, test=task.test[::4]) for task in whole.first(3).tasks)
    return Scenario(whole.kind, table, whole.labels, whole.classes, tasks)


MakeStream = Callable[..., "Stream"]


@pytest.fixture
def make_stream(scenario: Scenario) -> MakeStream:
    """Makes a stream of the given plugins that is ready to run."""
    import torch

    from clsuite.backbones.spec import BackboneSpec, find_weights
    from clsuite.backbones.vit import build_backbone
    from clsuite.learner.learner import Learner
    from clsuite.learner.options import OptimizerSpec, TrainingSpec
    from clsuite.stream.loop import Stream

    def make(*plugins: Plugin, checkpoint: Path | None = None, on: Scenario = scenario, **training: Any) -> Stream:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        spec = BackboneSpec()
        given = {"optimizer": OptimizerSpec(lr=5e-4, head_lr=3e-3), "batch_size": 8, "precision": "32", **training}
        learner = Learner(build_backbone(spec, find_weights(spec, [])), TrainingSpec(**given), plugins, seed=0)
        return Stream(learner, on, torch.device("cpu"), checkpoint_path=checkpoint, identity="test")

    return make
