"""Each reference method does what its paper says, against oracles and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch.nn import functional as F

from clsuite.data.batch import gather
from clsuite.learner.learner import Learner, Step
from clsuite.plugin import Plugin
from clsuite.scenarios import Scenario
from clsuite_plugins.ewc import EWC
from clsuite_plugins.joint import Joint
from clsuite_plugins.linear_probe import LinearProbe
from clsuite_plugins.lwf import LwF
from clsuite_plugins.ncm import NCM
from clsuite_plugins.replay import Replay
from clsuite_plugins.s_pet import SPet

FC1 = "model.blocks.0.mlp.fc1.weight"


class Spy(Plugin):
    """Calls a function at the end of each task, and keeps every step's batch."""

    def __init__(self, look: Any = None) -> None:
        super().__init__()
        self.look = look
        self.batches: list[Any] = []

    def loss(self, learner: Learner, step: Step) -> None:
        self.batches.append(step.batch)

    def on_task_end(self, learner: Learner, task: Any) -> None:
        if self.look:
            self.look(learner, task)


def test_ncm_equals_nearest_mean_by_scikit_learn(make_stream: Any, scenario: Scenario) -> None:
    stream = make_stream(NCM())
    stream.run()
    train = np.concatenate([task.train for task in scenario.tasks])
    test = np.concatenate([task.test for task in scenario.tasks])
    features = stream.learner.features_of(train).numpy()
    means = np.stack([features[scenario.labels[train] == label].mean(axis=0) for label in range(6)])
    oracle = KNeighborsClassifier(1, metric="cosine").fit(means, np.arange(6))
    expected = oracle.predict(stream.learner.features_of(test).numpy())
    np.testing.assert_array_equal(stream.matrix.class_incremental[-1], expected)
    assert stream.tasks[-1].steps == 0
    assert not any(parameter.requires_grad for parameter in stream.learner.parameters())


def test_linear_probe_leaves_the_backbone_alone(make_stream: Any) -> None:
    stream = make_stream(LinearProbe())
    before = {name: value.clone() for name, value in stream.learner.backbone.state_dict().items()}
    stream.run()
    for name, value in stream.learner.backbone.state_dict().items():
        assert torch.equal(before[name], value), name


def test_joint_trains_on_all_seen_data_from_the_pretrained_weights(make_stream: Any, scenario: Scenario) -> None:
    spy, joint = Spy(), Joint()
    stream = make_stream(joint, spy)
    pretrained = {name: value.clone() for name, value in stream.learner.backbone.state_dict().items()}
    starts = []
    begin = stream.learner.begin_task

    def watch(task: Any) -> None:
        begin(task)
        starts.append(all(torch.equal(pretrained[n], v) for n, v in stream.learner.backbone.state_dict().items()))

    stream.learner.begin_task = watch
    stream.run()
    assert starts == [True, True, True]
    rows = torch.cat([batch.indices for batch in spy.batches[-stream.tasks[-1].steps :]]).numpy()
    np.testing.assert_array_equal(np.sort(rows), np.sort(np.concatenate([task.train for task in scenario.tasks])))
    assert stream.matrix.counts().of("class_incremental").accuracy[-1].mean() > 0.6


def test_replay_adds_exemplars_of_earlier_tasks_only(make_stream: Any, scenario: Scenario) -> None:
    spy, replay = Spy(), Replay(capacity=6, batch_size=3)
    stream = make_stream(replay, spy)
    stream.run()
    first = spy.batches[: stream.tasks[0].steps]
    later = spy.batches[-stream.tasks[-1].steps :]
    assert not any(batch.replayed.any() for batch in first)
    assert all(int(batch.replayed.sum()) == 3 for batch in later)
    old = {int(row) for task in scenario.tasks[:2] for row in task.train}
    assert {int(row) for batch in later for row in batch.indices[batch.replayed]} <= old
    for batch in later:
        np.testing.assert_array_equal(scenario.labels[batch.indices.numpy()], batch.labels.numpy())
    assert len(replay.buffer) == 6
    assert replay.stored_bytes() == {"exemplars": 6 * (32 * 32 + 8)}
    expected = scenario.table.images[replay.buffer.indices.numpy()]
    np.testing.assert_array_equal(replay.buffer.images.numpy(), expected)
    assert stream.tasks[-1].gradient_samples == len(scenario.tasks[-1].train) + 3 * stream.tasks[-1].steps


def test_lwf_distils_the_old_model_on_its_old_classes(make_stream: Any, scenario: Scenario) -> None:
    lwf = LwF(alpha=0.7, temperature=3.0, warmup_epochs=0)
    stream = make_stream(lwf)
    learner = stream.learner
    learner.start(scenario)
    learner.begin_task(scenario.tasks[0])
    assert lwf.loss(learner, _step(learner, scenario, 0)) is None
    learner.begin_task(scenario.tasks[1])
    teacher = learner.head(learner.features_of(scenario.tasks[1].train[:5])).detach()[:, :2]
    with torch.no_grad():
        learner.head.groups[0].weight += torch.randn(2, 1)
    step = _step(learner, scenario, 1)
    target = F.softmax(teacher / 3, dim=1)
    student = step.logits[:, :2] / 3
    by_hand = -(target * F.log_softmax(student, dim=1)).sum(dim=1) + (target * target.log()).sum(dim=1)
    assert float(by_hand.mean()) > 1e-3
    torch.testing.assert_close(lwf.loss(learner, step), 0.7 * by_hand.mean(), rtol=1e-4, atol=1e-6)
    lwf.squared = True
    torch.testing.assert_close(lwf.loss(learner, step), 0.7 * 9 * by_hand.mean(), rtol=1e-4, atol=1e-6)


def test_lwf_has_the_papers_gradient_by_default(make_stream: Any, scenario: Scenario) -> None:
    """Equation 2 with lambda_o = 1 and T = 2: the cross-entropy of the two softened answers, and no factor."""
    lwf = LwF(warmup_epochs=0)
    learner = make_stream(lwf).learner
    learner.start(scenario)
    for task in scenario.tasks[:2]:
        learner.begin_task(task)
    step = _step(learner, scenario, 1)
    logits = torch.randn(5, 4, requires_grad=True)
    teacher = lwf._teacher[lwf._position[step.batch.indices]]
    paper = -(F.softmax(teacher / 2, dim=1) * F.log_softmax(logits[:, :2] / 2, dim=1)).sum(dim=1).mean()
    ours = lwf.loss(learner, Step(step.batch, step.features, logits))
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (ours, paper)))


def test_lwf_has_nothing_to_distil_in_a_batch_without_the_tasks_own_samples(
    make_stream: Any, scenario: Scenario
) -> None:
    lwf = LwF(warmup_epochs=0)
    learner = make_stream(lwf).learner
    learner.start(scenario)
    for task in scenario.tasks[:2]:
        learner.begin_task(task)
    assert lwf.loss(learner, _step(learner, scenario, 0)) is None

    class OldRows(Plugin):
        def select_indices(self, learner: Learner, task: Any, rows: Any) -> Any:
            return learner.scenario.tasks[0].train

    make_stream(LwF(), OldRows()).run()


@pytest.mark.slow
def test_warm_up_passes_are_counted(make_stream: Any, scenario: Scenario) -> None:
    streams = [make_stream(LwF(warmup_epochs=epochs)) for epochs in (0, 3)]
    for stream in streams:
        stream.run()
    more = [b.gradient_samples - a.gradient_samples for a, b in zip(*(s.tasks for s in streams), strict=True)]
    assert more == [0, 3 * len(scenario.tasks[1].train), 3 * len(scenario.tasks[2].train)]


def test_lwf_warms_up_the_new_columns_of_a_head_that_has_all_classes(make_stream: Any, scenario: Scenario) -> None:
    learner = make_stream(LwF(), head_classes="stream").learner
    learner.start(scenario)
    learner.begin_task(scenario.tasks[0])
    before = learner.head.groups[0].weight.detach().clone()
    learner.begin_task(scenario.tasks[1])
    moved = (learner.head.groups[0].weight != before).any(dim=1)
    assert moved.nonzero().flatten().tolist() == [2, 3]


def test_lwf_warm_up_moves_the_new_head_alone(make_stream: Any, scenario: Scenario) -> None:
    stream = make_stream(LwF())
    learner = stream.learner
    learner.start(scenario)
    learner.begin_task(scenario.tasks[0])
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    learner.begin_task(scenario.tasks[1])
    for name, value in before.items():
        assert torch.equal(value, learner.state_dict()[name]), name
    features, labels = learner.features_of(scenario.tasks[1].train), learner.labels_of(scenario.tasks[1].train)
    assert (learner.head(features).argmax(dim=1) == labels).float().mean() > 0.9
    assert all(parameter.grad is None for parameter in learner.parameters())


def test_ewc_fisher_is_the_mean_of_squared_gradients_of_each_image(make_stream: Any, scenario: Scenario) -> None:
    ewc = EWC(samples=None, penalty=4.0)
    learner = make_stream(ewc).learner
    learner.start(scenario)
    task = scenario.tasks[0]
    learner.begin_task(task)
    learner.end_task(task)
    name, weight = f"backbone.{FC1}", learner.backbone.model.blocks[0].mlp.fc1.weight
    total = torch.zeros_like(weight)
    learner.eval()
    for row in task.train:
        batch = gather(scenario.table, scenario.labels, np.array([row]))
        features = learner.backbone(learner.backbone.normalize(batch.images))
        loss = F.cross_entropy(learner.head(features), batch.labels)
        total += torch.autograd.grad(loss, weight)[0].square()
    torch.testing.assert_close(ewc.state_dict()["_importances"][name], total / len(task.train), rtol=1e-3, atol=1e-10)
    assert float(ewc.loss(learner, _step(learner, scenario, 0)).detach()) == 0.0
    with torch.no_grad():
        weight += 0.01
    expected = 0.5 * 4.0 * (ewc.state_dict()["_importances"][name] * 1e-4).sum()
    torch.testing.assert_close(ewc.loss(learner, _step(learner, scenario, 0)).detach(), expected, rtol=1e-3, atol=1e-12)


def test_ewc_fisher_is_of_the_likelihood_that_is_trained(make_stream: Any, scenario: Scenario) -> None:
    """Under a local loss only the task's classes compete: older columns of the head get no gradient, so no weight."""
    found = {}
    for loss in ("global", "local"):
        ewc = EWC(samples=None, penalty=0.0)
        learner = make_stream(ewc, loss=loss).learner
        learner.start(scenario)
        for task in scenario.tasks[:2]:
            learner.begin_task(task)
        found[loss] = ewc.measure(learner, scenario.tasks[1])
        if loss == "local":
            by_hand = torch.zeros_like(learner.head.groups[1].weight)
            learner.eval()
            for row in scenario.tasks[1].train:
                batch = gather(scenario.table, scenario.labels, np.array([row]))
                features = learner.backbone(learner.backbone.normalize(batch.images))
                value = F.cross_entropy(learner.head.groups[1](features), batch.labels - 2)
                by_hand += torch.autograd.grad(value, learner.head.groups[1].weight)[0].square()
            by_hand /= len(scenario.tasks[1].train)
            torch.testing.assert_close(found[loss]["head.groups.1.weight"], by_hand, rtol=1e-3, atol=1e-10)
    assert not found["local"]["head.groups.0.weight"].any()
    assert found["global"]["head.groups.0.weight"].sum() > 0


@pytest.mark.slow
def test_ewc_running_fisher_decays(make_stream: Any, scenario: Scenario) -> None:
    fishers = {}
    for gamma in (0.0, 1.0):
        ewc = EWC(gamma=gamma, samples=8, penalty=0.0)
        make_stream(ewc).run()
        fishers[gamma] = ewc.state_dict()["_importances"]["head.groups.0.weight"].sum()
    assert fishers[1.0] > fishers[0.0] > 0


@pytest.mark.slow
def test_ewc_keeps_what_it_knows_of_parameters_that_rest_and_counts_its_own_samples(make_stream: Any) -> None:
    ewc, name = EWC(samples=8, penalty=0.0), f"backbone.{FC1}"
    found: list[torch.Tensor] = []

    def rest(learner: Learner, task: Any) -> None:
        found.append(ewc.state_dict()["_importances"][name].clone())
        learner.backbone.get_parameter(FC1).requires_grad_(False)

    stream = make_stream(ewc, Spy(rest))
    stream.run()
    assert found[0].sum() > 0
    assert torch.equal(found[0], found[-1])
    assert name in ewc.state_dict()["_anchor"]
    plain = make_stream()
    plain.run()
    more = [one.gradient_samples - two.gradient_samples for one, two in zip(stream.tasks, plain.tasks, strict=True)]
    assert more == [8, 8, 8]


def test_ewc_asks_nothing_where_none_of_what_it_knows_is_trained(make_stream: Any) -> None:
    stream = make_stream(SPet(pet="lora", size=1), EWC(samples=4), loss="local")
    stream.run()
    assert len(stream.tasks) == 3


@pytest.mark.slow
def test_ewc_holds_parameters_near_the_anchor(make_stream: Any) -> None:
    moved = {}
    for penalty in (0.0, 1e9):
        anchors: list[torch.Tensor] = []
        spy = Spy(lambda learner, task, keep=anchors: keep.append(learner.backbone.get_parameter(FC1).detach().clone()))
        make_stream(EWC(penalty=penalty, samples=16), spy, loss="local", epochs=2).run()
        moved[penalty] = float((anchors[-1] - anchors[0]).norm())
    assert moved[1e9] < 0.9 * moved[0.0]


def _step(learner: Learner, scenario: Scenario, task: int) -> Step:
    batch = gather(scenario.table, scenario.labels, scenario.tasks[task].train[:5])
    features = learner.backbone(learner.backbone.normalize(batch.images))
    return Step(batch, features, learner.head(features))
