"""A phase before a task in which a method trains what it likes, by a loop of its own: ACL in front of others."""

from __future__ import annotations

import random
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interruptions import bits, interrupted
from torch import Tensor
from torch.nn import functional as F

from clsuite.errors import UserError
from clsuite.learner.free_training import anything_may_be_trained
from clsuite.learner.learner import Learner
from clsuite.plugin import Plugin, Traits
from clsuite.plugin.catalog import catalog, load_class
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.replay import Replay


class Adapts(Plugin):
    """Adapt before continual learning: an epoch of all weights towards the means of the new classes' features."""

    def __init__(self, lr: float = 1e-3) -> None:
        super().__init__()
        self.lr = lr
        self.nearness: list[tuple[float, float]] = []

    def before_task_training(self, learner: Learner, task: Any) -> None:
        means = self.means(learner, task)
        learner.requires_grad_(True)
        optimizer = torch.optim.SGD(learner.backbone.parameters(), lr=self.lr, momentum=0.9)
        near = self.near(learner, task, means)
        for batch in learner.batches_of(task.train):
            cosines = F.normalize(learner.step_of(batch).features.float(), dim=1) @ means.T
            places = torch.searchsorted(torch.tensor(sorted(task.classes)), batch.labels)
            loss = F.cross_entropy(cosines / 0.1, places)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            learner.count_gradients(len(batch))
        self.nearness.append((near, self.near(learner, task, means)))

    def means(self, learner: Learner, task: Any) -> Tensor:
        features, labels = learner.features_of(task.train), learner.labels_of(task.train)
        means = [features[labels == label].mean(dim=0) for label in sorted(task.classes)]
        return F.normalize(torch.stack(means), dim=1)

    def near(self, learner: Learner, task: Any, means: Tensor) -> float:
        """How much nearer images are to the mean of their class than to those of the others."""
        cosines = F.normalize(learner.features_of(task.train), dim=1) @ means.T
        own = torch.searchsorted(torch.tensor(sorted(task.classes)), learner.labels_of(task.train))
        return float(F.log_softmax(cosines / 0.1, dim=1).gather(1, own[:, None]).mean())

    def on_task_start(self, learner: Learner, task: Any) -> None:
        assert all(value.grad is None for value in learner.parameters())


@pytest.mark.slow
def test_without_a_rate_it_is_the_base_method_bit_for_bit(make_stream: Any) -> None:
    training = {"epochs": 2, "augment": "crop_flip"}
    alone = make_stream(Replay(12), **training)
    before = make_stream(Adapts(lr=0.0), Replay(12), **training)
    for stream in (alone, before):
        stream.run()
    for name, value in alone.learner.state_dict().items():
        assert torch.equal(value, before.learner.state_dict()[name]), name
    assert alone.matrix.counts() == before.matrix.counts()
    own = [len(task.train) for task in before.scenario.tasks]
    counted = [task.gradient_samples for task in alone.tasks]
    assert [task.gradient_samples for task in before.tasks] == [
        one + mine for one, mine in zip(counted, own, strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("base", ["finetune", "ncm", "pet"])
def test_features_come_near_the_means_and_the_base_trains_what_it_trained(base: str, make_stream: Any) -> None:
    adapts = Adapts()
    stream, alone = make_stream(adapts, load_class(catalog()[base])()), make_stream(load_class(catalog()[base])())
    stream.run()
    alone.run()
    assert all(after > before for before, after in adapts.nearness), adapts.nearness
    assert [task.steps for task in stream.tasks] == [task.steps for task in alone.tasks]
    whole = sum(value.numel() for value in stream.learner.parameters())
    assert stream.tasks[-1].trainable_parameters == whole
    patterns = [[value.requires_grad for value in one.learner.parameters()] for one in (stream, alone)]
    assert patterns[0] == patterns[1]
    assert not any(task.frozen for task in stream.tasks)  # its passes through the network are a part of the cost
    start, end = alone.learner.backbone.state_dict(), stream.learner.backbone.state_dict()
    assert any(not torch.equal(value, end[name]) for name, value in start.items())


@pytest.mark.slow
def test_known_features_are_of_the_network_as_it_is_then(make_stream: Any) -> None:
    """A frozen learner looks features up: after the phase those of earlier tasks are of the moved network too."""

    class Looks(Plugin):
        def on_task_start(self, learner: Learner, task: Any) -> None:
            learner.requires_grad_(False)
            for seen in learner.scenario.tasks[: task.index + 1]:
                afresh = learner.feature_source(learner.backbone, learner.scenario.table, seen.train)
                assert torch.equal(learner.features_of(seen.train), afresh)
            learner.head.requires_grad_(True)

    make_stream(Adapts(), Looks()).run()


@pytest.mark.slow
def test_interrupted_and_resumed_it_ends_in_the_same_bits(make_stream: Any, tmp_path: Path) -> None:
    training = {"epochs": 2, "augment": "crop_flip"}
    alone = make_stream(Adapts(), Replay(12), **training)
    alone.run()
    step = alone.tasks[1].steps - 1
    again = interrupted(make_stream, tmp_path / "x.ckpt", 1, step, lambda: [Adapts(), Replay(12)], **training)
    for mine, his in zip(bits(again), bits(alone), strict=True):
        assert mine == his


class Knows(Adapts):
    """The same, of a method that answers before the stream too."""

    traits = Traits(open_vocabulary=True)


@pytest.mark.slow
def test_what_own_loops_train_counts_as_trained(make_stream: Any) -> None:
    """The classifier of class means trains nothing, and a fine-tuned network all of its weights anyway."""
    stream = make_stream(load_class(catalog()["acl"])(), load_class(catalog()["ncm"])())
    stream.run()
    whole = sum(value.numel() for value in stream.learner.backbone.parameters())
    assert [task.trainable_parameters for task in stream.tasks] == [whole] * 3
    tuned = make_stream(load_class(catalog()["acl"])(), Finetune())
    tuned.run()
    head = sum(value.numel() for value in tuned.learner.head.parameters())
    assert tuned.tasks[-1].trainable_parameters == whole + head


@pytest.mark.slow
def test_before_the_stream_nothing_is_trained(make_stream: Any) -> None:
    knows = Knows()
    stream, plain = make_stream(knows), make_stream(Finetune())
    for one in (stream, plain):
        one.run()
    assert len(knows.nearness) == 3
    assert stream.matrix.class_incremental[0].tolist() == plain.matrix.class_incremental[0].tolist()


class Keeps(Plugin):
    """Keeps the batches of some passes."""

    def __init__(self, augment: bool = True) -> None:
        super().__init__()
        self.augment = augment
        self.passes: list[list[Any]] = []

    def before_task_training(self, learner: Learner, task: Any) -> None:
        self.passes += [list(learner.batches_of(task.train, self.augment, batch_size=5)) for _ in range(2)]


@pytest.mark.slow
def test_each_pass_has_an_order_and_an_augmentation_of_its_own(make_stream: Any) -> None:
    first, again = Keeps(), Keeps()
    for keeps in (first, again):
        make_stream(keeps, augment="crop_flip").run()
    one, other = ([batch.indices.tolist() for batch in passed] for passed in first.passes[:2])
    assert sorted(chain(*one)) == sorted(chain(*other))
    assert one != other
    assert {len(rows) for rows in one[:-1]} == {5}
    for passed, repeated in zip(first.passes, again.passes, strict=True):
        for batch, same in zip(passed, repeated, strict=True):
            assert torch.equal(batch.images, same.images)


def test_without_augmentation_images_are_those_of_the_table(make_stream: Any) -> None:
    keeps = Keeps(augment=False)
    stream = make_stream(keeps, augment="crop_flip")
    stream.run()
    learner = stream.learner
    for batch in keeps.passes[0]:
        assert torch.equal(batch.images, learner.backbone.normalize(learner.images_of(batch.indices.numpy())))


@pytest.mark.slow
def test_it_goes_through_the_network_in_parts(make_stream: Any) -> None:
    sizes: list[int] = []

    class Steps(Plugin):
        def before_task_training(self, learner: Learner, task: Any) -> None:
            handle = learner.backbone.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
            batch = next(iter(learner.batches_of(task.train)))
            learner.step_of(batch).features.sum().backward()
            handle.remove()

    make_stream(Steps(), accumulate=2).run()
    assert set(sizes) == {4}


def test_mistakes_are_told(make_stream: Any) -> None:
    stream = make_stream(Finetune())
    stream.learner.start(stream.scenario)
    rows = stream.scenario.tasks[0].train
    with pytest.raises(UserError, match="none has begun"):
        stream.learner.batches_of(rows)
    stream.learner.begin_task(stream.scenario.tasks[0])
    with pytest.raises(UserError, match="indices of test images"):
        stream.learner.batches_of(stream.scenario.tasks[0].test)
    with pytest.raises(UserError, match="batch_size is 0"):
        stream.learner.batches_of(rows, batch_size=0)
    with pytest.raises(UserError, match="write len"):
        stream.learner.count_gradients(np.float64(3.0))  # type: ignore[arg-type]


def test_all_is_restored_after_an_error_too(make_stream: Any, scenario: Any) -> None:
    """In a notebook, the model and the generators of the process live on."""
    learner = make_stream(Finetune()).learner
    learner.start(scenario)
    learner.eval()
    learner.backbone.requires_grad_(False)
    before = state_of(learner)

    def fail() -> None:
        with anything_may_be_trained(learner, 1):
            learner.requires_grad_(True)
            next(learner.parameters()).grad = torch.zeros_like(next(learner.parameters()))
            assert not any(one == other for one, other in zip(state_of(learner), before, strict=True))
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert state_of(learner) == before


def state_of(learner: Learner) -> list[Any]:
    """What must be restored."""
    return [
        [module.training for module in learner.modules()],
        [(value.requires_grad, value.grad is None) for value in learner.parameters()],
        torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate(),
    ]  # fmt: skip
