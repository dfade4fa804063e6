"""ER-ACE, ER-AML, MIR and GSS: which classes compete for whom, and which exemplars are replayed or kept."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.errors import UserError
from clsuite.learner.learner import Learner, Step
from clsuite.plugin import Batch, Plugin
from clsuite.scenarios import Scenario
from clsuite_plugins.er_ace import ERACE
from clsuite_plugins.er_aml import ERAML
from clsuite_plugins.gss import GSS
from clsuite_plugins.linear_probe import LinearProbe
from clsuite_plugins.mir import MIR
from clsuite_plugins.replay import Replay


class Losses(Plugin):
    """Keeps what a plugin's classification loss is at each step, and what a function expects of it."""

    def __init__(self, plugin: Plugin, expect: Any) -> None:
        super().__init__()
        self.plugin, self.expect, self.pairs = plugin, expect, list[tuple[int, float, float]]()

    def loss(self, learner: Learner, step: Step) -> None:
        assert learner.task is not None
        measured = self.plugin.classification(learner, step)
        assert measured is not None
        self.pairs.append((learner.task.index, float(measured.detach()), float(self.expect(step))))


def among(logits: Tensor, labels: Tensor, classes: list[int]) -> Tensor:
    """The mean cross-entropy of samples among some classes, term by term."""
    terms = [one[label] - one[classes].logsumexp(dim=0) for one, label in zip(logits, labels, strict=True)]
    return -torch.stack(terms).mean()


@pytest.mark.parametrize("compete", ["batch", "task"])
def test_er_ace_lets_new_samples_compete_among_their_own(compete: str, make_stream: Any, scenario: Scenario) -> None:
    plugin = ERACE(capacity=20, compete=compete)  # type: ignore[arg-type]

    def expect(step: Step) -> Tensor:
        new, logits, labels = ~step.batch.replayed, step.logits.detach(), step.batch.labels
        classes = sorted(set(labels[new].tolist()))
        if compete == "task":
            classes = sorted({label // 2 * 2 + more for label in classes for more in (0, 1)})
        whole = among(logits[new], labels[new], classes)
        return whole if new.all() else whole + F.cross_entropy(logits[~new], labels[~new])

    losses = Losses(plugin, expect)
    make_stream(plugin, losses, on=scenario.first(2), batch_size=3).run()
    assert len(losses.pairs) > 10
    for _, measured, expected in losses.pairs:
        assert measured == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_er_ace_rehearses_the_current_task_too(make_stream: Any) -> None:
    plugin, drawn = ERACE(capacity=40), list[tuple[int, list[int]]]()

    class Look(Plugin):
        def loss(self, learner: Learner, step: Step) -> None:
            assert learner.task is not None
            drawn.append((learner.task.index, step.batch.labels[step.batch.replayed].tolist()))

    make_stream(plugin, Look()).run()
    assert [len(labels) for task, labels in drawn if task == 0][:2] == [0, 8]
    assert any(label >= 4 for task, labels in drawn if task == 2 for label in labels)
    assert plugin.buffer.capacity == len(set(plugin.buffer.indices.tolist())) == 40


def test_er_ace_with_the_tasks_classes_is_replay_with_a_local_loss(make_stream: Any) -> None:
    """The sum of two means is twice the mean of both where they are of equal size."""
    shared: dict[str, Any] = {"capacity": 60, "batch_size": 8}
    ace = ERACE(**shared, compete="task", offer="task")
    ace._owner = "replay"
    replay, ours = (
        make_stream(Replay(**shared), loss="local"),
        make_stream(ace),
    )
    weights: list[list[Tensor]] = []
    for stream in (replay, ours):
        learner, scenario = stream.learner, stream.scenario
        learner.start(scenario)
        learner.begin_task(scenario.tasks[0])
        plugin = learner.plugins[0]
        plugin.buffer.add_task(learner, scenario.tasks[0], plugin.draws)
        learner.begin_task(scenario.tasks[1])
        rows = torch.from_numpy(scenario.tasks[1].train[:8])
        images, labels = learner.images_of(rows.numpy()), learner.labels_of(rows.numpy())
        batch = plugin.transform_batch(learner, Batch(images, labels, rows, torch.zeros(8, dtype=torch.bool)))
        step = learner.step_of(batch.with_images(learner.backbone.normalize(batch.images)))
        loss = learner.classification_of(step)
        weights.append(
            [2 * one if stream is replay else one for one in torch.autograd.grad(loss, learner.head.parameters())]
        )
    for mine, his in zip(*weights, strict=True):
        torch.testing.assert_close(mine, his)


def test_mir_without_a_choice_is_replay_bit_for_bit(make_stream: Any, scenario: Scenario) -> None:
    mir = MIR(capacity=12, batch_size=4, candidates=4)
    mir._owner = "replay"  # the draws have the name of their method
    streams = [
        make_stream(plugin, on=scenario.first(2), augment="crop_flip")
        for plugin in (Replay(capacity=12, batch_size=4), mir)
    ]
    for stream in streams:
        stream.run()
    assert streams[0].matrix.counts() == streams[1].matrix.counts()
    assert [task.gradient_samples for task in streams[0].tasks] == [task.gradient_samples for task in streams[1].tasks]
    for mine, his in zip(streams[0].learner.parameters(), streams[1].learner.parameters(), strict=True):
        assert torch.equal(mine, his)


@pytest.mark.parametrize("lr", [None, 0.05])
def test_mir_replays_what_a_step_would_raise_most(lr: float | None, make_stream: Any, scenario: Scenario) -> None:
    """The rise of the loss against a copy of the network that takes the step, and the choice that follows from it."""
    plugin = MIR(capacity=20, batch_size=3, candidates=9, lr=lr)
    measure, found = plugin.interference, list[tuple[Tensor, Tensor]]()
    chosen: list[Tensor] = []

    def spy(learner: Learner, batch: Batch, drawn: Tensor) -> Tensor:
        before = [value.detach().clone() for value in learner.parameters()]
        rises = measure(learner, batch, drawn)
        assert all(torch.equal(*both) for both in zip(before, learner.parameters(), strict=True))
        assert learner.backbone.training
        parts = [copy.deepcopy(part).eval() for part in (learner.backbone, learner.head)]
        backbone, head = parts

        def losses(images: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(head(backbone(backbone.normalize(images))), labels, reduction="none")

        images, labels = plugin.buffer.images[drawn], plugin.buffer.labels[drawn]
        first = losses(images, labels).detach()
        groups = [{"params": parts[0].parameters(), "lr": lr or 5e-4}, {"params": head.parameters(), "lr": lr or 3e-3}]
        optimizer = torch.optim.SGD(groups, lr=1.0)
        losses(batch.images, batch.labels).mean().backward()
        optimizer.step()
        found.append((rises, losses(images, labels).detach() - first))
        chosen.append(plugin.buffer.indices[drawn[found[-1][1].topk(3).indices]])
        return rises

    replayed: list[list[int]] = []

    class Look(Plugin):
        def loss(self, learner: Learner, step: Step) -> None:
            if step.batch.replayed.any():
                replayed.append(step.batch.indices[step.batch.replayed].tolist())

    plugin.interference = spy  # type: ignore[method-assign]
    stream = make_stream(plugin, Look(), on=scenario.first(2))
    stream.run()
    assert len(found) > 2
    for rises, expected in found:
        torch.testing.assert_close(rises, expected, rtol=1e-3, atol=1e-5)
    assert [sorted(one) for one in replayed] == [sorted(one.tolist()) for one in chosen]
    rows, steps = len(scenario.tasks[1].train), stream.tasks[1].steps
    assert stream.tasks[1].gradient_samples == 2 * rows + 3 * steps


def test_mir_works_on_features_that_are_looked_up(make_stream: Any, scenario: Scenario) -> None:
    stream = make_stream(LinearProbe(), MIR(capacity=20, batch_size=3, candidates=9), on=scenario.first(2))
    stream.run()
    assert stream.learner.uses_cached_features


# -- ER-AML -------------------------------------------------------------------------------------------------------


def test_er_aml_contrasts_by_hand() -> None:
    plugin = ERAML(temperature=0.2, base=0.1)
    anchors, drawn = (
        torch.tensor([[2.0, 0.0], [0.0, 1.0]]),
        torch.tensor([[1.0, 0.0], [0.0, 3.0], [3.0, 4.0], [4.0, 3.0]]),
    )
    labels, drawn_labels = torch.tensor([0, 1]), torch.tensor([0, 1, 1, 0])
    terms = []
    for similar, positive in (([1.0, 0.0, 0.6, 0.8], [0, 3]), ([0.0, 1.0, 0.8, 0.6], [1, 2])):
        powers = torch.tensor(similar).div(0.2).exp()
        terms.append(-2 * (powers / powers.sum()).log()[positive].mean())
    measured = plugin.contrast(anchors, labels, drawn, drawn_labels)
    torch.testing.assert_close(measured, torch.stack(terms).mean())


def test_er_aml_draws_positives_and_negatives_among_the_batchs_classes(make_stream: Any, scenario: Scenario) -> None:
    plugin, drawn = ERAML(capacity=20), list[tuple[list[int], list[int], set[int]]]()
    contrast, batches = plugin.contrast, list[set[int]]()

    def spy(anchors: Tensor, labels: Tensor, features: Tensor, drawn_labels: Tensor) -> Tensor:
        drawn.append((labels.tolist(), drawn_labels.tolist(), batches[-1]))
        return contrast(anchors, labels, features, drawn_labels)

    class Look(Plugin):
        def transform_batch(self, learner: Learner, batch: Batch) -> Batch:
            batches.append(set(batch.labels.tolist()))
            return batch

    plugin.contrast = spy  # type: ignore[method-assign]
    stream = make_stream(Look(), plugin, on=scenario.first(2), batch_size=4)
    stream.run()
    assert len(drawn) > 4
    for labels, both, present in drawn:
        assert both[: len(labels)] == labels
        assert all(one != other for one, other in zip(labels, both[len(labels) :], strict=True))
        assert set(both) <= present
    passed = [
        sum(2 * len(labels) for labels, _, present in drawn if (max(present) < 2) == first) for first in (True, False)
    ]
    rows = [len(task.train) for task in scenario.tasks[:2]]  # and as many exemplars, but none at the first step
    expected = [2 * rows[0] - 4 + passed[0], 2 * rows[1] + passed[1]]
    assert [task.gradient_samples for task in stream.tasks] == expected


def test_er_aml_contrasts_no_sample_with_its_own_copy(make_stream: Any, scenario: Scenario) -> None:
    """In a later epoch the exemplars are those of the batch."""
    plugin = ERAML(capacity=2)
    learner: Learner = make_stream(plugin).learner
    learner.start(scenario)
    learner.begin_task(task := scenario.tasks[0])
    labels = learner.labels_of(task.train)
    chosen = torch.stack([(labels == label).nonzero()[0, 0] for label in (0, 1)])
    rows, labels = torch.from_numpy(task.train)[chosen], labels[chosen]
    plugin.buffer.put(torch.arange(2), learner.images_of, labels, rows, torch.zeros(2))
    step = Step(Batch(None, labels, rows, torch.zeros(2, dtype=torch.bool)), torch.randn(2, 96), torch.zeros(2, 2))
    assert plugin._contrast(learner, step) is None  # neither has a positive
    assert learner.gradient_samples == 0


# -- GSS ----------------------------------------------------------------------------------------------------------


def begun(plugin: Any, make_stream: Any, scenario: Scenario) -> tuple[Learner, Tensor, Tensor]:
    """A learner in its first task with six exemplars, and labels and rows of six other samples."""
    learner: Learner = make_stream(plugin, head_init=0.1).learner
    learner.start(scenario)
    learner.begin_task(scenario.tasks[0])
    rows = torch.from_numpy(scenario.tasks[0].train)
    labels = learner.labels_of(rows.numpy())
    plugin.buffer.put(torch.arange(6), learner.images_of, labels[:6], rows[:6], torch.full((6,), 0.5))
    return learner, labels[6:12], rows[6:12]


@pytest.mark.parametrize("gradients", ["all", "head"])
def test_gss_scores_by_the_largest_cosine_of_gradients(gradients: Any, make_stream: Any, scenario: Scenario) -> None:
    plugin = GSS(capacity=6, comparisons=6, gradients=gradients)
    learner, labels, rows = begun(plugin, make_stream, scenario)
    values = list((learner if gradients == "all" else learner.head).parameters())

    def direction(image: Tensor, label: Tensor) -> Tensor:
        loss = F.cross_entropy(learner(learner.backbone.normalize(image[None])), label[None])
        return F.normalize(torch.cat([part.flatten() for part in torch.autograd.grad(loss, values)]), dim=0)

    stored = [direction(*one) for one in zip(plugin.buffer.images, plugin.buffer.labels, strict=True)]
    own = [direction(*one) for one in zip(learner.images_of(rows.numpy()), labels, strict=True)]
    expected = [1 + max(float(one @ other) for other in stored) for one in own]
    assert plugin.scores(learner, labels, rows).tolist() == pytest.approx(expected, abs=1e-4)
    assert learner.gradient_samples == (12 if gradients == "all" else 0)
    assert learner.training


def test_gss_gives_the_first_samples_the_score_of_the_authors_cosine(make_stream: Any, scenario: Scenario) -> None:
    """Their 0.1 is a cosine, and stored scores are cosines plus 1: else the first samples would never be replaced."""
    plugin = GSS(capacity=6)
    learner, labels, rows = begun(plugin, make_stream, scenario)
    assert plugin.buffer.keys.tolist() == [0.5] * 6
    plugin.buffer.load_state_dict({name: value[:0] for name, value in plugin.buffer.state_dict().items()})
    plugin._offer(learner, labels, rows)
    assert plugin.buffer.keys.tolist() == pytest.approx([1 + 0.1] * 6)


def test_gss_replaces_what_agrees_by_what_disagrees(make_stream: Any, scenario: Scenario) -> None:
    """Agreeing samples never enter; of the others as many as the odds of both scores say, in the long run."""
    plugin = GSS(capacity=6, comparisons=6, gradients="head")
    learner, labels, rows = begun(plugin, make_stream, scenario)
    plugin.buffer.keys[:] = torch.tensor([0.0, 1.0, 0.0, 3.0, 0.0, 0.0])
    before = plugin.buffer.indices.clone()
    plugin.scores = lambda learner, labels, indices: torch.full((len(labels),), 1.0).double()  # type: ignore
    plugin._offer(learner, labels, rows)
    assert torch.equal(plugin.buffer.indices, before)
    plugin.scores = lambda learner, labels, indices: torch.full((len(labels),), 0.5).double()  # type: ignore
    taken = [0, 0]
    for _ in range(400):
        plugin.buffer.put(torch.arange(6), learner.images_of, labels, before, torch.tensor([0.0, 1, 0, 3, 0, 0]))
        plugin._offer(learner, labels[:1], rows[:1])
        taken = [taken[n] + int(plugin.buffer.keys[place] == 0.5) for n, place in enumerate((1, 3))]
        assert torch.equal(plugin.buffer.indices[[0, 2, 4, 5]], before[[0, 2, 4, 5]])
    assert taken[0] / 400 == pytest.approx(0.25 * 1 / 1.5, abs=0.06)
    assert taken[1] / 400 == pytest.approx(0.75 * 3 / 3.5, abs=0.08)


def test_gss_fills_its_buffer_and_rehearses(make_stream: Any, scenario: Scenario) -> None:
    plugin = GSS(capacity=10, comparisons=3, gradients="head")
    stream = make_stream(plugin, on=scenario.first(2), epochs=2)
    stream.run()
    assert len(set(plugin.buffer.indices.tolist())) == 10
    assert plugin.buffer.labels.max() >= 2
    assert torch.equal(plugin.buffer.labels, stream.learner.labels_of(plugin.buffer.indices.numpy()))


@pytest.mark.slow
def test_er_ace_refuses_tasks_of_one_class_whose_samples_are_offered_at_the_end(
    make_stream: Any, scenario: Scenario
) -> None:
    alone = dataclasses.replace(scenario.tasks[1], classes=scenario.tasks[1].classes[1:])
    stream = dataclasses.replace(scenario, tasks=(scenario.tasks[0], alone))
    make_stream(ERACE(capacity=20)).learner.start(stream)
    with pytest.raises(UserError, match=r"^er_ace: task 1 \(.*\) has one class, .* exactly 0: write offer: step"):
        make_stream(ERACE(capacity=20, offer="task")).learner.start(stream)
