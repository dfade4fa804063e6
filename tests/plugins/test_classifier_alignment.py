"""Classifier alignment beside other methods: SLCA's where the slow learner is beside it, and what other codes do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from few_digits import few_digits

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.options import OptimizerSpec
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import find_plugin
from clsuite.plugin.compatibility import check_method
from clsuite.scenarios import ScenarioSpec, Task, build_scenario
from clsuite_plugins.classifier_alignment import ClassifierAlignment
from clsuite_plugins.lae import LAE
from clsuite_plugins.pet import Pet
from clsuite_plugins.replay import Replay
from clsuite_plugins.slca import SLCA

MOS = {"epochs": 6, "lr": 5e-3, "logits": "plain", "means": "plain", "next_task": "aligned", "ridge_kind": "absolute"}


class Watched(ClassifierAlignment):
    """Keeps the head as it was trained, as it answered, and as the next task begins with it."""

    def __init__(self, **given: Any) -> None:
        super().__init__(samples=8, **given)
        self.trained: list[list[torch.Tensor]] = []
        self.answering: list[list[torch.Tensor]] = []
        self.begun: list[list[torch.Tensor]] = []

    def on_task_end(self, learner: Learner, task: Task) -> None:
        self.trained.append(copy_of(learner))
        super().on_task_end(learner, task)
        self.answering.append(copy_of(learner))

    def on_task_start(self, learner: Learner, task: Task) -> None:
        self.begun.append(copy_of(learner))


def copy_of(learner: Learner) -> list[torch.Tensor]:
    return [value.detach().clone() for value in learner.head.parameters()]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> list[bool]:
    return [torch.equal(one, other) for one, other in zip(first, second, strict=False)]


@pytest.mark.parametrize("next_task", ["unaligned", "aligned"])
def test_the_next_task_begins_with_the_head_that_was_asked_for(make_stream: Any, next_task: str) -> None:
    plugin = Watched(next_task=next_task)
    make_stream(Pet(), plugin, loss="local").run()
    assert all(same(plugin.trained[0], plugin.answering[0]))  # one task: nothing to align
    expected = plugin.answering if next_task == "aligned" else plugin.trained
    for task in (1, 2):
        assert not any(same(plugin.trained[task], plugin.answering[task]))
        assert all(same(expected[task - 1], plugin.begun[task]))


def test_the_newest_part_of_the_head_may_be_aligned_alone(make_stream: Any) -> None:
    plugin = Watched(groups="newest", next_task="aligned")
    make_stream(Pet(), plugin, loss="local").run()
    assert same(plugin.trained[2], plugin.answering[2]) == [True] * 4 + [False] * 2


class SlowLearner(Plugin):
    """SLCA's rates, and none of its alignment."""

    parameter_groups = SLCA.parameter_groups
    lr, head_lr = 1e-4, 1e-2


class SameDraws(ClassifierAlignment):
    def on_task_end(self, learner: Learner, task: Task) -> None:
        generator = learner.generator
        learner.generator = lambda purpose: generator("slca")  # type: ignore[assignment, method-assign, misc]
        super().on_task_end(learner, task)
        learner.generator = generator  # type: ignore[method-assign]


@pytest.mark.slow
def test_beside_a_slow_learner_it_is_slca(make_stream: Any) -> None:
    training = {"loss": "local", "optimizer": OptimizerSpec(name="sgd")}
    streams = [
        make_stream(*plugins, **training) for plugins in ([SLCA(samples=16)], [SlowLearner(), SameDraws(samples=16)])
    ]
    for stream in streams:
        stream.run()
    first, second = (list(stream.learner.parameters()) for stream in streams)
    assert all(same(first, second))


@pytest.mark.slow
@pytest.mark.parametrize(
    "given",
    [
        {},
        MOS,
        {**MOS, "covariance": "diagonal"},
        {**MOS, "covariance": "centroids", "centroids": 3, "batches": "old"},
        {"logits": "cosine", "ridge": 1e-3, "ridge_kind": "absolute", "next_task": "aligned"},
    ],
    ids=["slca", "mos", "mos on imagenet-a", "hide", "ssiat"],
)
def test_alignment_is_what_makes_old_and_new_classes_comparable(make_stream: Any, given: dict[str, Any]) -> None:
    """A short training of one task's classes at a time leaves their logits on different scales."""
    cosine = {"head": "cosine"} if given.get("logits") == "cosine" else {}
    streams = [
        make_stream(Pet(), *plugins, loss="local", epochs=2, **cosine)
        for plugins in ([], [ClassifierAlignment(samples=64, **given)])
    ]
    for stream in streams:
        stream.run()
    finals = [stream.matrix.counts().of("class_incremental").accuracy[-1].mean() for stream in streams]
    assert finals[1] > finals[0] + 0.03, finals


@pytest.mark.slow
def test_it_uses_as_many_batches_as_there_are_old_classes(make_stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Any] = []
    monkeypatch.setattr(
        "clsuite_plugins.classifier_alignment.align_head", lambda *given, **_: taken.append(given[2].batches)
    )
    for batches in ("old", "all"):
        make_stream(Pet(), ClassifierAlignment(batches=batches)).run()
    assert taken == [2, 4, None, None]


@pytest.mark.slow
@pytest.mark.parametrize("next_task", ["unaligned", "aligned"])
def test_it_survives_an_interruption_beside_other_methods(make_stream: Any, tmp_path: Path, next_task: Any) -> None:
    def make(checkpoint: Path | None = None) -> Any:
        plugins = [LAE(blocks="all", frozen_epochs=0)] if next_task == "aligned" else [Pet(), Replay(capacity=10)]
        plugins += [ClassifierAlignment(samples=8, next_task=next_task)]
        return make_stream(*plugins, checkpoint=checkpoint)

    whole = make()
    whole.run()
    cut = make(tmp_path / "c.ckpt")
    end = cut.learner.end_task

    def stop(task: Task) -> None:
        if task.index == 2:
            raise KeyboardInterrupt
        end(task)

    cut.learner.end_task = stop
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    again = make(tmp_path / "c.ckpt")
    again.run()
    assert (whole.matrix.class_incremental == again.matrix.class_incremental).all()
    theirs = whole.learner.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in again.learner.state_dict().items())


def test_classes_that_come_again_are_pooled(make_stream: Any) -> None:
    blurry = build_scenario(few_digits(), ScenarioSpec(kind="blurry", tasks=3), seed=0, train_per_class=14)
    plugin = ClassifierAlignment(samples=8)
    make_stream(Pet(), plugin, on=blurry).run()
    known = plugin._gaussians
    assert int(known.counts.sum()) == sum(len(task.train) for task in blurry.tasks)
    assert len(known.labels.unique()) == len(known.labels)


def test_centroids_are_refused_before_the_stream_where_classes_come_again(make_stream: Any, scenario: Any) -> None:
    recurring = build_scenario(scenario.table, ScenarioSpec(kind="recurring", tasks=2, length=3), 0, train_per_class=4)
    stream = make_stream(Pet(), ClassifierAlignment(covariance="centroids"), on=recurring)
    with pytest.raises(UserError, match="classifier_alignment: a class of the stream comes in several tasks"):
        stream.learner.start(recurring)


@pytest.mark.parametrize("kind", ["online", "blurry"])
def test_streams_that_pass_once_are_refused(kind: str) -> None:
    plugins = [(name, find_plugin(name)[1]) for name in ("pet", "classifier_alignment")]
    with pytest.raises(UserError, match="it takes the features of a task's images after training on them"):
        check_method(plugins, kind)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ("ncm", "no effect"),
        ("s_pet", "prototypes answer, and not the head that is aligned"),
        ("wise_ft", "the head would be aligned to others"),
        ("joint", "joint training needs no alignment"),
    ],
)
def test_what_has_no_use_for_it_is_refused(other: str, reason: str) -> None:
    plugins = [(name, find_plugin(name)[1]) for name in (other, "classifier_alignment")]
    with pytest.raises(UserError, match=reason):
        check_method(plugins, "class_incremental")


@pytest.mark.parametrize("training", [{"head_classes": "stream"}])
def test_a_head_that_does_not_grow_is_refused(make_stream: Any, training: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"classifier_alignment: training\.head_classes must be seen"):
        make_stream(ClassifierAlignment(), **training).run()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"lr": 0.0}, r"lr is 0\.0, but must be above 0"),
        ({"period": 0}, "period is 0, but must be at least 1"),
        ({"batch_size": 0}, "batch_size is 0, but must be at least 1"),
        ({"weight_decay": -1.0}, r"weight_decay is -1\.0, but must be at least 0"),
    ],
)
def test_bad_arguments_are_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=f"classifier_alignment: {reason}"):
        ClassifierAlignment(**given)
