"""Avalanche's strategies as methods: equal to clsuite's own loop where that is known, and each runs to its end."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clsuite.avalanche.experiences import AugmentedAgain, Prepared, augmented
from clsuite.avalanche.network import first_weights
from clsuite.avalanche.stored import as_kinds
from clsuite.backbones.spec import BackboneSpec, find_weights
from clsuite.backbones.vit import build_backbone
from clsuite.data.augment_spec import Flip
from clsuite.errors import InputWarning, UserError
from clsuite.learner.options import OptimizerSpec
from clsuite.plugin import Plugin
from clsuite.plugin.arguments import resolve_arguments
from clsuite.plugin.catalog import find_plugin, load_class
from clsuite.runner.methods import parse_plugin
from clsuite.scenarios import Scenario
from clsuite.stream.loop import UnfitCheckpointError
from clsuite_plugins.finetune import Finetune

FECAM = Path(__file__).parents[2] / "benchmarks" / "compare" / "avalanche_fecam.py"
QUICK = ("Replay(mem_size=8)", "ICaRL(memory_size=8, fixed_memory=True)", "StreamingLDA()")
"""A buffer, a classifier that only evaluates, and no gradient at all; Naive has a test of its own."""
SLOW = (
    "AGEM(patterns_per_exp=6, sample_size=6)", "CWRStar()", "CoPE(mem_size=8)", "Cumulative()", "DER(mem_size=12)",
    "ER_ACE(mem_size=12)", "ER_AML(mem_size=40)", "EWC(ewc_lambda=100.0)", "FeatureReplay(mem_size=12)",
    "FromScratchTraining()", "GDumb(mem_size=8)", "GEM(patterns_per_exp=6)", "GSS_greedy(mem_size=40)",
    "LFL(lambda_e=1.0)", "LwF(alpha=1.0, temperature=2.0)", "MAS()", "MER(mem_size=8, n_inner_steps=1)",
    "MIR(mem_size=12, subsample=8, batch_size_mem=4)", "SCR(mem_size=12, batch_size_mem=8)",
)  # fmt: skip


def method(text: str, folder: Path = Path()) -> Plugin:
    """The plugin of a method as it is written."""
    use = parse_plugin(text)
    info, source = find_plugin(use["name"], (folder,))
    return load_class(info)(**resolve_arguments(use["name"], source, use["args"]))


@pytest.fixture
def short(scenario: Scenario) -> Scenario:
    """Two tasks with few images."""
    tasks = [dataclasses.replace(task, train=task.train[:12], test=task.test[::4]) for task in scenario.first(2).tasks]
    return dataclasses.replace(scenario.first(2), tasks=tuple(tasks))


@pytest.mark.slow
def test_naive_is_what_clsuite_learns_by_itself(make_stream: Any, scenario: Scenario) -> None:
    """With whole tasks as batches the order of images is nothing: the same network, head, loss, optimizer, schedule."""
    optimizer = OptimizerSpec(name="sgd", lr=0.1, head_lr=0.1, momentum=0.9)  # Adam would enlarge rounding to steps
    training = {"batch_size": 32, "epochs": 2, "schedule": "cosine", "gradient_clip": 2.0, "optimizer": optimizer}
    ours = make_stream(Finetune(), on=scenario.first(2), **training)
    theirs = make_stream(method("avalanche:Naive"), on=scenario.first(2), **training)
    for stream in (ours, theirs):
        stream.run()
    for name, value in ours.learner.state_dict().items():
        assert torch.allclose(value, theirs.learner.state_dict()[name], atol=1e-5), name
    first = build_backbone(BackboneSpec(), find_weights(BackboneSpec(), [])).state_dict()
    moved = [float((value - first[name]).abs().max()) for name, value in theirs.learner.backbone.state_dict().items()]
    assert max(moved) > 1e-3  # a hundred times what the two differ by
    assert ours.matrix.counts() == theirs.matrix.counts()
    assert [task.gradient_samples for task in theirs.tasks] == [2 * len(task.train) for task in scenario.tasks[:2]]
    assert [task.trainable_parameters for task in theirs.tasks] == [task.trainable_parameters for task in ours.tasks]
    assert theirs.learner.plugins[0].stored_bytes() == {}


def test_all_classes_have_the_first_values_of_the_growing_head(make_stream: Any, short: Scenario) -> None:
    stream = make_stream(Finetune(), on=short)
    stream.learner.start(short)
    expected = [first.clone() for first in first_weights(stream.learner)]
    for task in short.tasks:
        stream.learner.begin_task(task)
    assert torch.equal(torch.cat([group.weight for group in stream.learner.head.groups]), expected[0][:4])
    assert torch.equal(torch.cat([group.bias for group in stream.learner.head.groups]), expected[1][:4])


@pytest.mark.parametrize("written", QUICK)
def test_strategies_learn_and_repeat_themselves(written: str, make_stream: Any, short: Scenario) -> None:
    streams = [make_stream(method(f"avalanche:{written}"), on=short) for _ in range(2)]
    for stream in streams:
        stream.run()
    first, again = (stream.matrix.arrays()["class_incremental"] for stream in streams)
    assert np.array_equal(first, again)
    check_learned(streams[0])
    if written.startswith("Streaming"):
        assert [task.gradient_samples for task in streams[0].tasks] == [0, 0]
    if written.startswith("Replay"):
        assert streams[0].learner.plugins[0].stored_bytes() == {"exemplars": 8 * (32 * 32 + 8)}


@pytest.mark.nightly
@pytest.mark.parametrize("written", SLOW)
def test_every_other_strategy_runs(written: str, make_stream: Any, short: Scenario) -> None:
    training = {"batch_size": 4} if written.startswith(("GSS", "ER_AML")) else {}
    if written.startswith("GSS"):  # which fails if the first task does not fill its memory
        longer = tuple(dataclasses.replace(task, train=np.tile(task.train, 4)) for task in short.tasks)
        short = dataclasses.replace(short, tasks=longer)
    stream = make_stream(method(f"avalanche:{written}"), on=short, **training)
    stream.run()
    check_learned(stream)


@pytest.mark.nightly
def test_synaptic_intelligence_of_avalanche_is_naive_on_the_cpu_and_says_so(make_stream: Any, short: Scenario) -> None:
    naive, intelligence = (
        make_stream(method(f"avalanche:{written}"), on=short)
        for written in ("Naive", "SynapticIntelligence(si_lambda=1000000.0)")
    )
    naive.run()
    with pytest.warns(InputWarning, match="SynapticIntelligence has no effect on the CPU"):
        intelligence.run()
    check_learned(intelligence)
    one, other = (stream.learner.backbone.state_dict() for stream in (naive, intelligence))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def check_learned(stream: Any) -> None:
    """Some new classes are recognized right after each task, and what is stored is told by its kind."""
    counts = stream.matrix.counts()
    for index in range(2):
        assert counts.class_incremental[index + 1][index] > 0
    plugin = stream.learner.plugins[0]
    assert plugin.stored_bytes().keys() == {*plugin.traits.memory}
    assert all(size > 0 for size in plugin.stored_bytes().values())


@pytest.mark.slow
def test_a_function_of_ones_own_makes_a_strategy_that_sees_no_label(
    make_stream: Any, short: Scenario, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "from avalanche.core import SupervisedPlugin\n"
        "from avalanche.training import Naive\n"
        "SEEN = []\n"
        "class Watch(SupervisedPlugin):\n"
        "    def after_eval_forward(self, strategy, **kwargs):\n"
        "        SEEN.extend(strategy.mb_y.tolist())\n"
        "def make_strategy(model, optimizer, sizes, device, epochs: int = 2):\n"
        "    return Naive(model=model, optimizer=optimizer, train_mb_size=sizes.batch, train_epochs=epochs,\n"
        "                 device=device, plugins=[Watch()])\n"
    )
    plugin = method("mine.py:make_strategy(epochs=3)", tmp_path)
    stream = make_stream(plugin, on=short)
    stream.run()
    assert [task.gradient_samples for task in stream.tasks] == [36, 36]
    seen = plugin._strategy.plugins[0].after_eval_forward.__globals__["SEEN"]  # type: ignore[attr-defined]
    assert len(seen) > 0
    assert set(seen) == {0}


def test_fecam_is_a_function_whose_classes_without_statistics_are_never_predicted(
    make_stream: Any, short: Scenario
) -> None:
    stream = make_stream(method(f"{FECAM}:make_strategy"), on=short)
    stream.run()
    assert stream.learner.scores == "distance"
    assert stream.matrix.arrays()["class_incremental"][2].max() < 4
    assert sum(map(int, stream.matrix.counts().class_incremental[2])) > sum(stream.matrix.counts().n) / 2


def test_what_a_function_returns_must_be_a_strategy(make_stream: Any, short: Scenario, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def make_strategy(model):\n    return model\n")
    with pytest.raises(UserError, match="returns a Network, but must return a strategy of Avalanche"):
        make_stream(method("mine.py:make_strategy", tmp_path), on=short).run()
    (tmp_path / "wrong.py").write_text("def make_strategy(model):\n    return model.nothing\n")
    with pytest.raises(UserError, match="cannot make a strategy of Avalanche: AttributeError"):
        make_stream(method("wrong.py:make_strategy", tmp_path), on=short).run()


def test_a_killed_stream_is_not_resumed(make_stream: Any, short: Scenario, tmp_path: Path) -> None:
    def stop(event: dict[str, Any]) -> None:
        if event["task"] == 1:
            raise KeyboardInterrupt

    killed, again = (
        make_stream(method("avalanche:Naive"), on=short, checkpoint=tmp_path / "run.ckpt") for _ in range(2)
    )
    killed.report = stop
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    with pytest.raises(UnfitCheckpointError, match="cannot be saved between tasks, so that the stream is learned from"):
        again.run()


def test_a_strategy_whose_memory_is_too_small_is_refused(make_stream: Any, short: Scenario) -> None:
    for written, least in (("ER_AML", 80), ("GSS_greedy", 40)):
        with pytest.raises(UserError, match=f"mem_size must be at least {least}, and is 12"):
            make_stream(method(f"avalanche:{written}(mem_size=12)"), on=short).run()
    with pytest.raises(UserError, match="must be at most that, and is 8"):
        make_stream(method("avalanche:ER_AML(mem_size=80)"), on=short).run()


def test_images_are_normalized_and_augmented_as_the_benchmark_says() -> None:
    normalize = build_backbone(BackboneSpec(), find_weights(BackboneSpec(), [])).normalize
    stored = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    always = (Flip(p=1.0),)
    expected: Tensor = normalize(stored.flip(-1))
    torch.manual_seed(0)
    assert torch.equal(augmented(stored, always), stored.flip(-1))
    assert torch.equal(Prepared(normalize, always)(stored[0]), expected[0])
    again = AugmentedAgain(normalize, always)
    assert torch.allclose(again(normalize(stored)), expected, atol=1e-6)
    assert torch.allclose(again(normalize(stored)[1]), expected[1], atol=1e-6)
    assert AugmentedAgain(normalize, ())(stored) is stored


def test_bytes_are_told_by_kind() -> None:
    assert as_kinds(("exemplars", "weights"), 5, 7) == {"exemplars": 5, "weights": 7}
    assert as_kinds(("all data",), 5, 0) == {"all data": 5}
    assert as_kinds((), 5, 7) == {}
