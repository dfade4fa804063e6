"""Features that runs share are those that a run would have computed, bit by bit, or none at all."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from clsuite.backbones.vit import Backbone
from clsuite.data.feature_files import Block, FeatureFiles, blocks_below, read_block
from clsuite.errors import InputWarning
from clsuite.learner import shared_features
from clsuite.learner.features import compute_features
from clsuite.learner.shared_features import SharedFeatures
from clsuite.peft import build_pet
from clsuite.private_api import tensor_version
from clsuite.scenarios import Scenario
from clsuite.stream.clock import Clock


@pytest.fixture
def files(tmp_path: Path) -> FeatureFiles:
    return FeatureFiles(10**9, tmp_path)


@pytest.fixture
def backbone(make_stream: Any) -> Backbone:
    found: Backbone = make_stream().learner.backbone
    return found.requires_grad_(False)


def shared(backbone: Backbone, files: FeatureFiles) -> SharedFeatures:
    return SharedFeatures(backbone, files, "a")


def number(files: FeatureFiles) -> int:
    return len(blocks_below(files.folder))


def test_all_runs_get_the_bits_that_they_would_compute(
    backbone: Backbone, files: FeatureFiles, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_features, "BLOCK", 150)  # two blocks: one of a whole batch, and the rest
    monkeypatch.setattr(shared_features, "PATIENCE", 0.01)
    rows = np.random.RandomState(0).permutation(len(scenario.table))[:170]
    expected = compute_features(backbone, scenario.table.images, rows).numpy().tobytes()
    first, second = shared(backbone, files), shared(backbone, files)
    assert first.features_of(backbone, scenario.table, rows).numpy().tobytes() == expected
    assert (first.taken.images, first.taken.seconds) == (0, 0.0)
    assert number(files) == 2
    assert second.features_of(backbone, scenario.table, rows).numpy().tobytes() == expected
    assert second.taken.images == 170
    assert second.taken.seconds > 0
    assert number(files) == 2


def test_what_another_process_computes_is_waited_for_last(
    backbone: Backbone, files: FeatureFiles, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_features, "BLOCK", 1)
    rows = np.arange(300)  # three blocks of a batch each
    expected = compute_features(backbone, scenario.table.images, rows)
    asked: list[tuple[str, float]] = []
    usual = files.claimed

    @contextmanager
    def claimed(group: str, key: str, patience: float) -> Iterator[bool]:
        first = not asked or (key == asked[0][0] and not patience)
        asked.append((key, patience))
        with usual(group, key, patience) as mine:
            yield mine and not first  # the first block is another's until there is nothing else to do

    monkeypatch.setattr(files, "claimed", claimed)
    assert torch.equal(shared(backbone, files).features_of(backbone, scenario.table, rows), expected)
    assert [patience > 0 for _, patience in asked] == [False, False, False, True]
    assert asked[3][0] == asked[0][0]
    assert number(files) == 3


def _ask(root: str, backbone: Backbone, table: Any, rows: Any, together: Any, answers: Any) -> None:
    store = SharedFeatures(backbone, FeatureFiles(10**9, Path(root)), "a")
    together.wait()
    found = store.features_of(backbone, table, rows)
    answers.put((store.taken.images, found.numpy().tobytes()))


@pytest.mark.slow
def test_processes_that_ask_at_once_compute_each_block_once(
    backbone: Backbone, scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_features, "BLOCK", 1)
    rows = np.random.RandomState(0).permutation(len(scenario.table))[:1000]
    expected = compute_features(backbone, scenario.table.images, rows).numpy().tobytes()
    context = get_context("fork")
    together, answers = context.Barrier(3), context.Queue()
    given = (str(tmp_path), backbone, scenario.table, rows, together, answers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        workers = [context.Process(target=_ask, args=given) for _ in range(3)]
        for worker in workers:
            worker.start()
    found = [answers.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    assert [content == expected for _, content in found] == [True] * 3
    assert sum(taken for taken, _ in found) == 2 * len(rows)  # each was computed by one, and taken by the two others
    assert max(taken for taken, _ in found) <= len(rows)


def test_a_block_that_is_waited_for_costs_what_it_had_cost_and_the_wait_nothing(
    backbone: Backbone, files: FeatureFiles, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = scenario.tasks[0].test
    shared(backbone, files).features_of(backbone, scenario.table, rows)
    (path, _), *_ = blocks_below(files.folder)
    block = read_block(path)
    path.unlink()
    usual = files.claimed

    @contextmanager
    def claimed(group: str, key: str, patience: float) -> Iterator[bool]:
        with usual(group, key, patience) as mine:
            time.sleep(0.2)  # while another process computes it
            files.write(group, key, Block(block.features, 10.0), {})
            yield mine

    monkeypatch.setattr(files, "claimed", claimed)
    store = shared(backbone, files)
    store.features_of(backbone, scenario.table, rows)
    assert store.taken.images == len(rows)
    assert store.taken.seconds == 10
    assert store.taken.waited > 0.2
    clock = Clock(store.taken)
    before = clock.now()
    store.taken.waited += 3
    assert -3.1 < (clock.now() - before).seconds < -2


def test_blocks_of_other_rows_or_another_order_are_others(
    backbone: Backbone, files: FeatureFiles, scenario: Scenario
) -> None:
    store, rows = shared(backbone, files), scenario.tasks[0].test
    for asked in (rows, rows[::-1].copy(), rows[1:], scenario.tasks[1].test):
        found = store.features_of(backbone, scenario.table, asked)
        assert torch.equal(found, compute_features(backbone, scenario.table.images, asked))
    assert store.taken.images == 0
    assert number(files) == 4


def test_the_mode_is_left_as_it_was(backbone: Backbone, files: FeatureFiles, scenario: Scenario) -> None:
    for training in (True, False):
        backbone.train(training)
        for _ in range(2):
            shared(backbone, files).features_of(backbone, scenario.table, scenario.tasks[0].test)
            assert {module.training for module in backbone.modules()} == {training}


def test_a_backbone_that_has_learned_is_not_shared(backbone: Backbone, files: FeatureFiles, scenario: Scenario) -> None:
    store, rows = shared(backbone, files), scenario.tasks[0].test
    store.features_of(backbone, scenario.table, rows)
    with torch.no_grad():
        next(backbone.parameters()).mul_(1.01)
    found = store.features_of(backbone, scenario.table, rows)
    assert torch.equal(found, compute_features(backbone, scenario.table.images, rows))
    assert store.taken.images == 0
    assert number(files) == 1


def by_data(parameters: list[nn.Parameter]) -> None:
    parameters[0].data.mul_(1.01)


def by_an_array(parameters: list[nn.Parameter]) -> None:
    parameters[0].detach().numpy()[...] *= 1.01


def by_a_fused_optimizer(parameters: list[nn.Parameter]) -> None:
    parameters[0].grad = torch.ones_like(parameters[0])
    torch.optim.AdamW(parameters[:1], fused=True).step()


@pytest.mark.parametrize("write", [by_data, by_an_array, by_a_fused_optimizer])
def test_weights_that_were_written_behind_pytorchs_back_are_seen(
    write: Callable[[list[nn.Parameter]], None], backbone: Backbone, files: FeatureFiles, scenario: Scenario
) -> None:
    store, rows = shared(backbone, files), scenario.tasks[0].test
    store.features_of(backbone, scenario.table, rows)
    parameters = list(backbone.parameters())
    version = tensor_version(parameters[0])
    write(parameters)
    assert tensor_version(parameters[0]) == version
    assert torch.equal(
        store.features_of(backbone, scenario.table, rows), compute_features(backbone, scenario.table.images, rows)
    )
    assert store.taken.images == 0


def test_a_module_that_acts_is_not_shared_and_one_switched_off_is(
    backbone: Backbone, files: FeatureFiles, scenario: Scenario
) -> None:
    store, rows = shared(backbone, files), scenario.tasks[0].test
    module = build_pet("adapter", backbone.model, size=2, blocks="all", generator=torch.Generator().manual_seed(0))
    module.attach(backbone.model)
    store.features_of(backbone, scenario.table, rows)
    assert number(files) == 0
    module.enabled = False
    for _ in range(2):
        found = store.features_of(backbone, scenario.table, rows)
        assert torch.equal(found, compute_features(backbone, scenario.table.images, rows))
    assert (store.taken.images, number(files)) == (len(rows), 1)


def test_another_precision_has_blocks_of_its_own(backbone: Backbone, files: FeatureFiles, scenario: Scenario) -> None:
    store, rows = shared(backbone, files), scenario.tasks[0].test
    store.features_of(backbone, scenario.table, rows)
    with torch.autocast("cpu", torch.bfloat16):
        found = store.features_of(backbone, scenario.table, rows)
        assert torch.equal(found, compute_features(backbone, scenario.table.images, rows))
    assert (store.taken.images, number(files)) == (0, 2)


def test_a_damaged_block_is_computed_again_and_good_from_then_on(
    backbone: Backbone, files: FeatureFiles, scenario: Scenario
) -> None:
    rows = scenario.tasks[0].test
    expected = shared(backbone, files).features_of(backbone, scenario.table, rows)
    path = blocks_below(files.folder)[0][0]
    path.write_bytes(path.read_bytes()[:-5])
    store = shared(backbone, files)
    with pytest.warns(InputWarning, match="damaged"):
        assert torch.equal(store.features_of(backbone, scenario.table, rows), expected)
    assert store.taken.images == 0
    assert torch.equal(store.features_of(backbone, scenario.table, rows), expected)
    assert store.taken.images == len(rows)
