"""WA, BiC, LUCIR and FOSTER: exemplars among the images, the old model's answers, and what each of them adds."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from interruptions import bits, interrupted
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional as F

from clsuite.errors import UserError
from clsuite.learner.learner import Learner, Step
from clsuite.learner.old_model import OldModel, evaluating
from clsuite.plugin import Plugin
from clsuite.scenarios import Scenario
from clsuite_plugins.bic import BiC
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.foster import FOSTER
from clsuite_plugins.lucir import LUCIR
from clsuite_plugins.pet import Pet
from clsuite_plugins.replay import Replay
from clsuite_plugins.wa import WA


class Watch(Plugin):
    """Copies the network before the second task, and keeps what a function makes of each of its steps."""

    def __init__(self, look: Any = None) -> None:
        super().__init__()
        self.look, self.seen, self.old = look, list[Any](), list[Any]()
        self.rows: dict[int, list[int]] = {}

    def on_task_start(self, learner: Learner, task: Any) -> None:
        if task.index == 1:
            self.old = [copy.deepcopy(part).eval() for part in (learner.backbone, learner.head)]

    def loss(self, learner: Learner, step: Step) -> None:
        assert learner.task is not None
        self.rows.setdefault(learner.task.index, []).extend(step.batch.indices.tolist())
        if self.look is not None and learner.task.index == 1:
            with torch.no_grad():
                features = self.old[0](step.batch.images)
                self.seen.append(self.look(learner, step, features, self.old[1](features)))


def values(learner: Learner) -> list[Tensor]:
    return [value.detach() for name, value in learner.named_parameters() if not name.startswith("plugin_modules")]


def soft(student: Tensor, teacher: Tensor) -> Tensor:
    """The cross-entropy of two softmaxes at temperature 2."""
    return -((teacher / 2).softmax(dim=1) * (student / 2).log_softmax(dim=1)).sum(dim=1).mean()


# -- the frame ----------------------------------------------------------------------------------------------------


def test_the_old_model_answers_as_it_was(make_stream: Any, scenario: Scenario) -> None:
    """With modules of a plugin too, of which those that came later have the values that they began with."""
    learner = make_stream(Pet("lora", size=2, targets="q+v")).learner
    learner.start(scenario)
    learner.begin_task(scenario.tasks[0])
    learner.backbone.requires_grad_(True)
    rows = scenario.tasks[0].train[:6]
    batch = next(iter(learner.batches_of(rows, augment=False)))
    with torch.no_grad():
        for value in learner.plugin_modules.parameters():
            value.add_(0.02)
    expected = learner.features_of(batch.indices.numpy())
    old = OldModel()
    old.keep(learner)
    with torch.no_grad():
        for value in learner.parameters():
            value.add_(0.01)
    moved, modes = [value.clone() for value in learner.parameters()], [part.training for part in learner.modules()]
    features, logits = old.answers(learner, batch)
    torch.testing.assert_close(features, expected)
    assert logits.shape == (6, 2)
    assert not torch.allclose(learner.features_of(batch.indices.numpy()), expected, atol=1e-3)
    assert all(torch.equal(*both) for both in zip(moved, learner.parameters(), strict=True))
    assert modes == [part.training for part in learner.modules()]


def test_each_module_gets_its_mode_back(make_stream: Any) -> None:
    learner = make_stream().learner
    learner.backbone.model.blocks[0].eval()
    modes = [part.training for part in learner.modules()]
    with evaluating(learner):
        assert not any(part.training for part in learner.modules())
    assert modes == [part.training for part in learner.modules()]


@pytest.mark.parametrize("name", ["wa", "lucir"])
def test_without_its_terms_each_is_replay_bit_for_bit(name: str, make_stream: Any, scenario: Scenario) -> None:
    shared: dict[str, Any] = {"capacity": 12, "buffer": "class_balanced"}
    plugin = {
        "wa": lambda: WA(**shared, mix="batch", distillation=0.0, align=False),
        "lucir": lambda: LUCIR(**shared, mix="batch", less_forget=0.0, ranking=0.0, imprint=False, freeze=False),
    }[name]()
    plugin._owner = "replay"  # the draws have the name of their method
    head = {"head": "cosine"} if name == "lucir" else {}
    streams = [make_stream(one, on=scenario.first(2), **head) for one in (Replay(**shared), plugin)]
    for stream in streams:
        stream.run()
    assert streams[0].matrix.counts() == streams[1].matrix.counts()
    for mine, his in zip(values(streams[0].learner), values(streams[1].learner), strict=True):
        assert torch.equal(mine, his)


def test_exemplars_are_shuffled_among_the_images(make_stream: Any, scenario: Scenario) -> None:
    plugin, watch = WA(capacity=12), Watch()
    stored: list[list[int]] = []
    watch.on_task_end = lambda learner, task: stored.append(sorted(plugin.buffer.indices.tolist()))  # type: ignore
    stream = make_stream(plugin, watch)
    stream.run()
    for task in scenario.tasks:
        before = stored[task.index - 1] if task.index else []
        assert sorted(watch.rows[task.index]) == sorted([*task.train.tolist(), *before])
    assert [len(one) for one in stored] == [12, 12, 12]
    assert plugin.stored_bytes()["weights"] >= 4 * sum(value.numel() for value in stream.learner.backbone.parameters())


# -- WA -----------------------------------------------------------------------------------------------------------


def test_wa_weighs_cross_entropy_and_distillation_by_the_classes(make_stream: Any, scenario: Scenario) -> None:
    plugin = WA(capacity=12)

    def look(learner: Learner, step: Step, features: Tensor, logits: Tensor) -> tuple[float, float]:
        distilled = soft(step.logits[:, :2], logits[:, :2])
        expected = 0.5 * F.cross_entropy(step.logits, step.batch.labels) + 0.5 * distilled
        measured = plugin.classification(learner, step)
        assert measured is not None
        return float(measured.detach()), float(expected)

    watch = Watch(look)
    make_stream(plugin, watch, on=scenario.first(2)).run()
    assert len(watch.seen) > 3
    for measured, expected in watch.seen:
        assert measured == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("classes", ["seen", "stream"])
def test_wa_gives_new_weights_the_mean_norm_of_the_old_ones(classes: str, make_stream: Any, scenario: Scenario) -> None:
    plugin = WA(capacity=12)
    looks: list[tuple[Tensor, Tensor]] = []
    align = plugin._align

    def weights(learner: Learner) -> tuple[Tensor, Tensor]:
        groups = [learner.head.group_parameters(number) for number in range(len(learner.head.sizes))]
        return torch.cat([group[0].detach() for group in groups]).clone(), torch.cat([g[1].detach() for g in groups])

    def spy(learner: Learner) -> None:
        before, biases = weights(learner)
        align(learner)
        after, biases_after = weights(learner)
        old, seen = plugin.old_classes(learner), learner.seen
        assert torch.equal(before[:old], after[:old])
        assert torch.equal(before[seen:], after[seen:])
        assert torch.equal(biases, biases_after)
        factor = after[old:seen] / before[old:seen]
        torch.testing.assert_close(factor, factor[:1, :1].expand_as(factor))
        looks.append((after[:old].norm(dim=1).mean(), after[old:seen].norm(dim=1).mean()))

    plugin._align = spy  # type: ignore[method-assign]
    make_stream(plugin, on=scenario.first(2), head_classes=classes).run()
    assert len(looks) == 1
    for old, new in looks:
        assert float(old) == pytest.approx(float(new), rel=1e-5)


@pytest.mark.parametrize(("plugin", "head"), [(WA(), "cosine"), (FOSTER(), "cosine"), (LUCIR(), "linear")])
def test_a_head_that_does_not_fit_is_refused_at_once(
    plugin: Plugin, head: str, make_stream: Any, scenario: Scenario
) -> None:
    with pytest.raises(UserError, match=r"it needs training.head: (linear|cosine)$"):
        make_stream(plugin, head=head).learner.start(scenario)


# -- BiC ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_bic_never_trains_on_what_it_holds_out(make_stream: Any, scenario: Scenario) -> None:
    plugin, watch = BiC(capacity=28, held_out=0.25), Watch()
    held: set[int] = set()
    watch.on_task_end = lambda learner, task: held.update(plugin.held.indices.tolist())  # type: ignore[method-assign]
    make_stream(plugin, watch).run()
    trained = {row for rows in watch.rows.values() for row in rows}
    assert not trained & held
    assert torch.bincount(plugin.held.labels).tolist() == [2, 2, 2, 2, 1, 1]
    assert (plugin.held.capacity, plugin.buffer.capacity, len(plugin.buffer)) == (10, 18, 18)
    assert plugin.stored_bytes()["exemplars"] == plugin.held.bytes + plugin.buffer.bytes
    missing = {row for task in scenario.tasks for row in task.train.tolist()} - trained
    assert missing == held


@pytest.mark.slow
def test_bic_finds_the_numbers_that_minimize_the_loss() -> None:
    """Against SciPy, where the logits of new classes are too large."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 4
    logits = 2.0 * F.one_hot(labels, 4) + torch.randn(40, 4, generator=random)
    logits[:, 2:] = (logits[:, 2:] + 1.5) / 0.8

    def loss(both: Any, penalty: float) -> float:
        exact = logits.double()
        corrected = torch.cat([exact[:, :2], float(both[0]) * exact[:, 2:] + float(both[1])], dim=1)
        return float(F.cross_entropy(corrected, labels)) + penalty / 2 * float(both[1]) ** 2

    for penalty in (0.0, 0.5):
        best = minimize(loss, [1.0, 0.0], args=(penalty,)).x
        measured = BiC(steps=1500, lr=0.05, penalty=penalty).fit(logits, labels, 2)
        assert measured.tolist() == pytest.approx(best.tolist(), abs=0.02)
    assert BiC(steps=0).fit(logits, labels, 2).tolist() == [1.0, 0.0]


@pytest.mark.slow
def test_bic_corrects_the_newest_classes_and_distills_what_was_evaluated(make_stream: Any) -> None:
    plugin = BiC(capacity=22, lr=0.1)

    def look(learner: Learner, step: Step, features: Tensor, logits: Tensor) -> tuple[float, float]:
        teacher = logits[:, :2]  # no correction after the first task
        expected = 0.5 * F.cross_entropy(step.logits, step.batch.labels) + 0.5 * soft(step.logits[:, :2], teacher)
        measured = plugin.classification(learner, step)
        assert measured is not None
        return float(measured.detach()), float(expected)

    watch = Watch(look)
    stream = make_stream(plugin, watch)
    stream.run()
    for measured, expected in watch.seen:
        assert measured == pytest.approx(expected, rel=1e-4)
    alpha, beta = plugin._correction.tolist()
    assert plugin._corrected == [4, 6]
    assert (alpha, beta) != (1.0, 0.0)
    learner = stream.learner
    batch = next(iter(learner.batches_of(stream.scenario.tasks[2].train[:4], augment=False)))
    with torch.no_grad(), evaluating(learner):
        plain, answers = learner.head(learner.encode(batch)), learner.predict_logits(batch)
    torch.testing.assert_close(answers, torch.cat([plain[:, :4], alpha * plain[:, 4:] + beta], dim=1))
    assert plugin._teacher.tolist() != [1.0, 0.0]  # the second task's, with which the third was distilled


def test_bic_needs_two_places_for_each_class(make_stream: Any) -> None:
    with pytest.raises(UserError, match=r"^bic: a memory of 19 has fewer than two .* 10 classes.* at least 20$"):
        make_stream(BiC(capacity=19)).run()


def test_bic_divides_its_memory_alike_where_a_stream_is_cut(make_stream: Any, scenario: Scenario) -> None:
    for on in (scenario, scenario.first(1)):
        plugin = BiC(capacity=30, held_out=0.1)
        make_stream(plugin, on=on).learner.start(on)
        assert (plugin.held.capacity, plugin.buffer.capacity) == (10, 20)


# -- LUCIR --------------------------------------------------------------------------------------------------------


def test_lucir_ranks_the_hardest_new_classes() -> None:
    cosines = torch.tensor([[0.9, 0.1, 0.2, 0.6, -0.3], [0.0, 0.3, 0.1, 0.2, 0.3]])
    measured = LUCIR(hardest=2, margin=0.5).ranked(cosines, torch.tensor([0, 1]), 2)
    expected = (0.5 - 0.9 + 0.6 + 0.0 + (0.5 - 0.3 + 0.3) + (0.5 - 0.3 + 0.2)) / 4
    assert float(measured) == pytest.approx(expected)
    true, new = torch.tensor([0.9, 0.9, 0.3, 0.3]), torch.tensor([0.6, 0.2, 0.3, 0.2])
    assert float(F.margin_ranking_loss(true, new, torch.ones(4), margin=0.5)) == pytest.approx(expected)
    fewer = LUCIR(hardest=9).ranked(cosines, torch.tensor([0, 1]), 4)
    assert float(fewer) == pytest.approx((0.0 + 0.5 - 0.3 + 0.3) / 2)


def test_lucir_holds_the_direction_of_features(make_stream: Any) -> None:
    plugin = LUCIR(capacity=12)

    def look(learner: Learner, step: Step, features: Tensor, logits: Tensor) -> tuple[float, float]:
        apart = 1 - (F.normalize(step.features, dim=1) * F.normalize(features, dim=1)).sum(dim=1)
        weight = torch.cat([group.weight for group in learner.head.groups])  # type: ignore[union-attr]
        cosines = F.normalize(step.features, dim=1) @ F.normalize(weight, dim=1).T
        expected, old = 5.0 * apart.mean(), step.batch.labels < 2  # as many old classes as new ones
        if old.any():
            expected = expected + plugin.ranked(cosines[old], step.batch.labels[old], 2)
        measured = plugin.loss(learner, step)
        assert measured is not None
        return float(measured.detach()), float(expected)

    watch = Watch(look)
    stream = make_stream(plugin, watch, head="cosine")
    stream.run()
    for measured, expected in watch.seen:
        assert measured == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert max(measured for measured, _ in watch.seen) > 0
    trained = [[value.requires_grad for value in stream.learner.head.group_parameters(number)] for number in range(3)]
    assert trained == [[False], [False], [True]]


def test_lucir_begins_new_weights_as_means_of_features(make_stream: Any, scenario: Scenario) -> None:
    plugin = LUCIR(capacity=12)
    found: list[Tensor] = []

    class Look(Plugin):
        def on_task_start(self, learner: Learner, task: Any) -> None:
            if task.index == 1:
                features = F.normalize(learner.features_of(task.train), dim=1)
                labels, weights = learner.labels_of(task.train), learner.head.group_parameters(1)[0].detach()
                length = learner.head.group_parameters(0)[0].detach().norm(dim=1).mean()
                for label in (2, 3):
                    mean = F.normalize(features[labels == label].mean(dim=0), dim=0)
                    found.append(weights[label - 2] - length * mean)

    make_stream(plugin, Look(), head="cosine", on=scenario.first(2)).run()
    assert len(found) == 2
    assert max(float(one.abs().max()) for one in found) < 1e-6


def test_lucir_refuses_a_head_of_all_classes(make_stream: Any) -> None:
    with pytest.raises(UserError, match=r"^lucir: .* needs training.head_classes: seen$"):
        make_stream(LUCIR(), head="cosine", head_classes="stream").run()


# -- FOSTER -------------------------------------------------------------------------------------------------------


def test_foster_weighs_classes_by_their_effective_number() -> None:
    plugin = FOSTER(beta=0.5)
    plugin._counts = torch.tensor([1, 2])
    raw = [0.5 / 0.5, 0.5 / 0.75]
    expected = [2 * one / sum(raw) for one in raw]
    assert plugin.class_weights(0.5).tolist() == pytest.approx(expected)
    assert plugin.class_weights(0.0).tolist() == [1.0, 1.0]


@pytest.mark.slow
def test_fosters_classifiers_count_among_what_is_trained_however_it_is_interrupted(
    make_stream: Any, scenario: Scenario, tmp_path: Path
) -> None:
    def method() -> list[Plugin]:
        return [FOSTER(capacity=12, compression_epochs=2)]

    (plugin,) = method()
    assert isinstance(plugin, FOSTER)
    stream = make_stream(plugin, on=scenario.first(2))
    stream.run()
    parts = (stream.learner.backbone, stream.learner.head, plugin.joint, plugin.second)
    assert stream.tasks[1].trainable_parameters == sum(value.numel() for part in parts for value in part.parameters())
    compressing = stream.tasks[1].steps // 3 + 1
    again = interrupted(make_stream, tmp_path / "x.ckpt", 1, compressing, method, on=scenario.first(2))
    assert bits(again) == bits(stream)


@pytest.mark.slow
def test_foster_boosts_and_compresses(make_stream: Any, scenario: Scenario) -> None:
    """The losses of both rounds by hand, and what is trained in each."""
    plugin = FOSTER(capacity=12, compression_epochs=2)
    boosted: list[Any] = []

    def look(learner: Learner, step: Step, features: Tensor, logits: Tensor) -> tuple[int, float, float]:
        measured = plugin.classification(learner, step)
        assert measured is not None
        if learner.plan.round == 0:
            joint = F.linear(torch.cat([features, step.features], 1), plugin.joint.weight, plugin.joint.bias)[:, :4]
            second = F.linear(step.features, plugin.second.weight, plugin.second.bias)[:, :4]
            expected = F.cross_entropy(joint / plugin.class_weights(0.97), step.batch.labels)
            expected = expected + F.cross_entropy(second, step.batch.labels) + soft(joint[:, :2], logits[:, :2])
            boosted[:] = [copy.deepcopy(learner.backbone).eval()]
        else:
            newer = last[0](step.batch.images)
            teacher = F.linear(torch.cat([features, newer], 1), plugin.joint.weight, plugin.joint.bias)[:, :4]
            targets = (teacher / 2).softmax(dim=1) * plugin.class_weights(0.97)
            targets = targets / targets.sum(dim=1, keepdim=True)
            expected = -(targets * (step.logits / 2).log_softmax(dim=1)).sum(dim=1).mean()
        return learner.plan.round, float(measured.detach()), float(expected)

    watch, last = Watch(look), list[Any]()

    def at_round_end(learner: Learner, task: Any, round: int) -> None:
        if task.index == 1 and round == 0:
            last.append(copy.deepcopy(watch.old[0]))
            present = dict(last[0].named_parameters())
            for name, value in plugin.boosted.values.items():
                if name.startswith("backbone."):
                    present[name.removeprefix("backbone.")].data.copy_(value)
            begun = zip(learner.backbone.parameters(), watch.old[0].parameters(), strict=True)
            assert all(torch.equal(mine, his) for mine, his in begun)  # the compression begins with the old network

    watch.on_round_end = at_round_end  # type: ignore[method-assign]
    stream = make_stream(plugin, watch, on=scenario.first(2))
    stream.run()
    rounds = [number for number, _, _ in watch.seen]
    assert rounds == [0] * (len(rounds) // 3) + [1] * (2 * len(rounds) // 3)
    for _, measured, expected in watch.seen:
        assert measured == pytest.approx(expected, rel=1e-3)
    assert not plugin.boosted.values
    assert not any(value.requires_grad for value in plugin.joint.parameters())


def test_foster_learns_the_first_task_as_fine_tuning_does(make_stream: Any, scenario: Scenario) -> None:
    streams = [make_stream(plugin, on=scenario.first(1)) for plugin in (Finetune(), FOSTER(capacity=12))]
    for stream in streams:
        stream.run()
    for mine, his in zip(*(values(stream.learner) for stream in streams), strict=True):
        assert torch.equal(mine, his)


def test_foster_trains_the_classifiers_of_boosting_at_the_rate_of_heads(make_stream: Any, scenario: Scenario) -> None:
    plugin = FOSTER(capacity=12)
    rates: dict[tuple[int, int], dict[Any, float]] = {}

    class Look(Plugin):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            groups = [group for one in trainer.optimizers for group in one.param_groups]
            found = {value: group["lr"] for group in groups for value in group["params"]}
            rates[(pl_module.task.index, pl_module.plan.round)] = found

    stream = make_stream(plugin, Look(), on=scenario.first(2))
    stream.run()
    head, body = stream.learner.head.parameters(), list(stream.learner.backbone.parameters())
    for found in rates.values():
        assert {found[value] for value in body} == {5e-4}
        assert {found[value] for value in head if value in found} <= {3e-3}
    classifiers = [*plugin.joint.parameters(), *plugin.second.parameters()]
    assert {rates[1, 0][value] for value in classifiers} == {3e-3}
    assert not rates[1, 1].keys() & {*classifiers}
