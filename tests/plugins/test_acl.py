"""ACL: the network is adapted to a task before the method learns it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from small_methods import SMALL
from torch.nn import functional as F

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import catalog, find_plugin, load_class
from clsuite.plugin.compatibility import check_method
from clsuite.scenarios import Task
from clsuite_plugins.acl import ACL, class_prototypes
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.l2p import L2P
from clsuite_plugins.ncm import NCM

BASES = ("finetune", "ncm", "ranpac", "fecam", "pet", "l2p", "lae", "replay", "ewc")
ARGUMENTS = {**SMALL, "replay": {"capacity": 12}}


def base(name: str) -> Plugin:
    return load_class(catalog()[name])(**ARGUMENTS.get(name, {}))


def test_a_task_of_one_class_is_refused(make_stream: Any, scenario: Any) -> None:
    first, *others = scenario.tasks
    alone = dataclasses.replace(first, classes=first.classes[:1], train=first.train[:4])
    stream = make_stream(ACL(), NCM(), on=dataclasses.replace(scenario, tasks=(alone, *others)))
    with pytest.raises(UserError, match=r"acl: the task '.*' has one class: .* has a loss of 0"):
        stream.run()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["finetune", "ranpac", "l2p"])
def test_without_a_rate_it_is_the_base_method_bit_for_bit(name: str, make_stream: Any, scenario: Any) -> None:
    training = {"epochs": 2, "augment": "crop_flip", "on": scenario.first(2)}
    alone, before = make_stream(base(name), **training), make_stream(ACL(lr=0.0), base(name), **training)
    for stream in (alone, before):
        stream.run()
    for key, value in alone.learner.state_dict().items():
        assert torch.equal(value, before.learner.state_dict()[key]), key
    assert alone.matrix.counts() == before.matrix.counts()
    more = [one.gradient_samples - two.gradient_samples for one, two in zip(before.tasks, alone.tasks, strict=True)]
    assert more == [len(task.train) for task in before.scenario.tasks]


def test_prototypes_are_the_normalized_means_of_the_classes_that_occur() -> None:
    features = torch.tensor([[3.0, 0.0], [0.0, 2.0], [1.0, 0.0], [0.0, 4.0]])
    prototypes, places = class_prototypes(features, torch.tensor([5, 2, 2, 5]))
    expected = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    torch.testing.assert_close(prototypes, expected / expected.norm(dim=1, keepdim=True))
    torch.testing.assert_close(prototypes.norm(dim=1), torch.ones(2))
    assert places[torch.tensor([2, 5])].tolist() == [0, 1]


def test_a_step_by_hand(make_stream: Any, scenario: Any) -> None:
    """One batch, plain SGD: all weights go down the gradient of the cross-entropy of cosines divided by 0.1."""
    size = len(scenario.tasks[0].train)
    stream = make_stream(ACL(lr=0.01, batch_size=size, momentum=0.0, weight_decay=0.5), Finetune())
    learner, task = stream.learner, scenario.tasks[0]
    other = make_stream(Finetune()).learner
    images = other.backbone.normalize(torch.from_numpy(scenario.table.images[task.train]))
    labels = torch.from_numpy(scenario.labels[task.train])
    features = other.backbone(images)
    means = torch.stack([features[labels == label].mean(dim=0) for label in range(2)]).detach()
    cosines = torch.stack([F.cosine_similarity(features, mean[None], dim=1) for mean in means], dim=1)
    F.cross_entropy(cosines / 0.1, labels).backward()
    learner.start(scenario)
    learner.begin_task(task)
    for (name, mine), theirs in zip(learner.backbone.named_parameters(), other.backbone.parameters(), strict=True):
        expected = theirs - 0.01 * (theirs.grad + 0.5 * theirs)
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-6, msg=name)


class Looks(Plugin):
    """Keeps what is trained before and after the phase, and how much nearer images are to their class's prototype."""

    def __init__(self) -> None:
        super().__init__()
        self.nearness: list[float] = []
        self.pattern: list[dict[str, bool]] = []
        self._before: tuple[torch.Tensor, torch.Tensor] | None = None

    def before_task_training(self, learner: Learner, task: Task) -> None:
        self._before = class_prototypes(learner.features_of(task.train), learner.labels_of(task.train))
        self._note(learner, task)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        self._note(learner, task)

    def _note(self, learner: Learner, task: Task) -> None:
        assert self._before is not None
        prototypes, places = self._before
        cosines = F.normalize(learner.features_of(task.train), dim=1) @ prototypes.T
        self.nearness.append(-float(F.cross_entropy(cosines / 0.1, places[learner.labels_of(task.train)])))
        self.pattern.append({name: value.requires_grad for name, value in learner.named_parameters()})
        assert all(value.grad is None for value in learner.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", BASES)
def test_images_come_near_their_prototypes_and_the_base_trains_as_alone(
    name: str, make_stream: Any, scenario: Any
) -> None:
    looks, alone, two = Looks(), Looks(), scenario.first(2)
    streams = make_stream(looks, ACL(lr=1e-3), base(name), on=two), make_stream(alone, base(name), on=two)
    for stream in streams:
        stream.run()
    before, after = looks.nearness[::2], looks.nearness[1::2]
    assert all(one < other for one, other in zip(before, after, strict=True)), looks.nearness
    assert looks.pattern[1::2] == alone.pattern[1::2]
    assert [task.steps for task in streams[0].tasks] == [task.steps for task in streams[1].tasks]
    learner = streams[0].learner
    adapted = sum(value.numel() for name, value in learner.named_parameters() if not name.startswith("head."))
    at_once = [task.trainable_parameters for task in streams[0].tasks]
    assert at_once == [max(adapted, task.trainable_parameters or 0) for task in streams[1].tasks]


def test_what_earlier_tasks_kept_stays_and_new_means_are_of_the_adapted_network(make_stream: Any) -> None:
    class Sums(NCM):
        def __init__(self) -> None:
            super().__init__()
            self.kept: list[torch.Tensor] = []

        def on_task_end(self, learner: Learner, task: Task) -> None:
            super().on_task_end(learner, task)
            self.kept.append(self._sums.clone())
            own, labels = learner.features_of(task.train), learner.labels_of(task.train)
            fresh = learner.feature_source(learner.backbone, learner.scenario.table, task.train)
            torch.testing.assert_close(own, fresh)
            for label in task.classes:
                torch.testing.assert_close(self._sums[label], fresh[labels == label].sum(dim=0), rtol=1e-4, atol=1e-4)

    sums = Sums()
    make_stream(ACL(lr=1e-3), sums).run()
    first, second, third = sums.kept
    assert torch.equal(first[:2], second[:2])
    assert torch.equal(second[:4], third[:4])


@pytest.mark.slow
def test_queries_of_prompts_are_of_the_adapted_network(make_stream: Any, scenario: Any) -> None:
    pool = L2P(size=2, pool=4, top_k=2)
    stream = make_stream(ACL(lr=1e-2, epochs=2, optimizer="adam"), pool)
    stream.run()
    rows = scenario.tasks[2].train
    known = pool._routed.query.of_rows(rows)
    with pool.module.switched(False), torch.no_grad():
        learner = stream.learner.eval()
        fresh = learner.backbone(learner.backbone.normalize(learner.images_of(rows)))
    torch.testing.assert_close(known, fresh, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ("joint", "joint training starts from the pre-trained weights at each task"),
        ("block_expansion", "the blocks that are to stay as they were would be adapted too"),
        ("saft", "the weights that are to stay as they were would be adapted too"),
        ("ease", "belong to the network as it was then"),
        ("s_pet", "belong to the network as it was then"),
        ("dual_prompt", "modules that a task's start makes are not there yet"),
        ("gdumb", "all images of a task are adapted to"),
    ],
)
def test_what_it_cannot_be_combined_with(other: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        check_method([(name, find_plugin(name)[1]) for name in ("acl", other)], "class_incremental")


def test_streams_that_pass_once_and_bad_arguments_are_refused() -> None:
    with pytest.raises(UserError, match="adapts the network to a task's images before the task is learned"):
        check_method([("acl", find_plugin("acl")[1])], "online")
    with pytest.raises(UserError, match=r"acl: temperature is 0\.0, but must be above 0"):
        ACL(temperature=0.0)
    with pytest.raises(UserError, match=r"acl: momentum is 1\.0, but must be at least 0 and below 1"):
        ACL(momentum=1.0)
    with pytest.raises(UserError, match="acl: epochs is 0, but must be at least 1"):
        ACL(epochs=0)
