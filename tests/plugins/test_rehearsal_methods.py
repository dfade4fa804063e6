"""DER, A-GEM, GDumb, FPF and k-FPF do what their papers say."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from clsuite.data.batch import Batch
from clsuite.data.buffer import ExemplarBuffer
from clsuite.errors import UserError
from clsuite.learner.learner import Learner, Step
from clsuite.plugin import Plugin
from clsuite.plugin.helpers import gradient_of
from clsuite.scenarios import Scenario
from clsuite_plugins.agem import AGEM
from clsuite_plugins.der import DER
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.fpf import FPF
from clsuite_plugins.gdumb import GDumb
from clsuite_plugins.icarl import ICaRL
from clsuite_plugins.joint import Joint
from clsuite_plugins.kfpf import KFPF
from clsuite_plugins.linear_probe import LinearProbe
from clsuite_plugins.mix_cd import MixCD
from clsuite_plugins.replay import Replay
from clsuite_plugins.wa import WA


class Watch(Plugin):
    """Keeps the rows of every batch, and what a function sees at each task's end and before the next."""

    def __init__(self, look: Any = lambda learner: None) -> None:
        super().__init__()
        self.look = look
        self.rows: list[torch.Tensor] = []
        self.ends: list[Any] = []
        self.left: list[Any] = []

    def loss(self, learner: Learner, step: Step) -> None:
        self.rows.append(step.batch.indices)

    def on_task_end(self, learner: Learner, task: Any) -> None:
        self.ends.append(self.look(learner))

    def on_task_exit(self, learner: Learner, task: Any) -> None:
        self.left.append(self.look(learner))


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in learner.named_parameters()}


@pytest.mark.slow
def test_der_stores_the_logits_of_the_moment(make_stream: Any) -> None:
    plugin = DER(capacity=30, offer="first_epoch")
    seen: dict[int, torch.Tensor] = {}

    class Logits(Plugin):
        def loss(self, learner: Learner, step: Step) -> None:
            for row, logits in zip(step.batch.indices.tolist(), step.logits.detach(), strict=True):
                seen.setdefault(row, logits.clone())

    stream = make_stream(plugin, Logits(), epochs=2)
    stream.run()
    assert len(plugin.buffer) == 30
    assert len(set(plugin.buffer.indices.tolist())) == 30
    for row, stored in zip(plugin.buffer.indices.tolist(), plugin.buffer.logits, strict=True):
        known = ~stored.isnan()
        assert int(known.sum()) == len(seen[row])
        torch.testing.assert_close(stored[known], seen[row], rtol=0, atol=0)


@pytest.mark.slow
def test_der_without_weights_is_fine_tuning(make_stream: Any) -> None:
    plain, der = make_stream(Finetune()), make_stream(DER(capacity=30, alpha=0.0, beta=0.0))
    plain.run()
    der.run()
    assert plain.matrix.counts() == der.matrix.counts()
    assert [task.gradient_samples for task in der.tasks] == [task.gradient_samples for task in plain.tasks]


@pytest.mark.slow
@pytest.mark.parametrize(("alpha", "beta", "draws"), [(0.0, 0.5, 1), (0.3, 0.0, 1), (0.3, 0.5, 2)])
def test_der_passes_an_exemplar_for_each_weight_that_is_not_zero(
    alpha: float, beta: float, draws: int, make_stream: Any
) -> None:
    plain, der = make_stream(), make_stream(DER(capacity=30, alpha=alpha, beta=beta, batch_size=3))
    plain.run()
    der.run()
    more = [one.gradient_samples - two.gradient_samples for one, two in zip(der.tasks, plain.tasks, strict=True)]
    assert more[1:] == [3 * draws * task.steps for task in der.tasks[1:]]


@pytest.mark.slow
def test_der_matches_all_classes_of_the_stream_and_divides_by_them(make_stream: Any, scenario: Scenario) -> None:
    """As the authors' code: the mean over batch and all classes, those that have not come yet too."""
    plugin = DER(capacity=30, alpha=0.7, beta=0.0)
    measured: list[tuple[float, float]] = []
    match, rehearse, seen = plugin._match, Learner.rehearse, list[Any]()

    def spy(learner: Learner, chosen: torch.Tensor, step: Step) -> torch.Tensor:
        term = match(learner, chosen, step)
        again, stored = seen.pop()
        assert again.shape[1] == 10
        assert not stored.isnan().any()
        measured.append((float(term.detach()), 0.7 * float((again - stored).square().mean())))
        return term

    stream = make_stream(plugin, head_classes="stream", head_init="uniform")
    plugin._match = spy  # type: ignore[method-assign]

    def watch(batch: Any) -> Step:
        step = rehearse(stream.learner, batch)
        where = [int((plugin.buffer.indices == row).nonzero()[0]) for row in batch.indices]
        seen.append((step.logits.detach(), plugin.buffer.logits[where].clone()))
        return step

    stream.learner.rehearse = watch
    plugin.offer = "first_epoch"  # a row is then stored once, and found again by its number
    stream.run()
    assert len(measured) > 4
    for term, expected in measured:
        assert term == pytest.approx(expected, rel=1e-4)


def test_der_of_a_growing_head_divides_by_all_classes_too(make_stream: Any, scenario: Scenario) -> None:
    plugin = DER(capacity=10, alpha=1.0, beta=0.0)
    learner = make_stream(plugin).learner
    learner.start(scenario)
    learner.begin_task(scenario.tasks[0])
    rows = torch.from_numpy(scenario.tasks[0].train[:5])
    logits = torch.full((5, 10), float("nan"))
    logits[:, :2] = 3.0
    plugin.buffer.add(learner.images_of, learner.labels_of(rows.numpy()), rows, plugin.draws, logits=logits)
    batch = plugin.buffer.batch(torch.arange(5))
    step = learner.rehearse(batch)
    term = plugin._match(learner, torch.arange(5), step)
    expected = (step.logits.detach() - 3.0).square().sum() / (5 * 10)
    torch.testing.assert_close(term.detach(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_der_offers_every_sample_of_every_epoch(make_stream: Any) -> None:
    offered: dict[str, int] = {}
    for offer in ("every_epoch", "first_epoch"):
        plugin = DER(capacity=400, offer=offer)
        stream = make_stream(plugin, epochs=3)
        stream.run()
        offered[offer] = len(plugin.buffer)
        samples = sum(len(task.train) for task in stream.scenario.tasks)
    assert offered == {"every_epoch": 3 * samples, "first_epoch": samples}


@pytest.mark.parametrize("fill", [False, True])
def test_der_fills_in_what_a_growing_head_did_not_know(fill: bool, make_stream: Any, scenario: Scenario) -> None:
    plugin = DER(capacity=20, fill=fill)
    learner = make_stream(plugin).learner
    learner.start(scenario)
    learner.begin_task(scenario.tasks[0])
    rows = torch.from_numpy(scenario.tasks[0].train[:8])
    logits = torch.full((8, 10), float("nan"))
    logits[:, :2] = 7.0
    plugin.buffer.add(learner.images_of, learner.labels_of(rows.numpy()), rows, plugin.draws, logits=logits)
    learner.begin_task(scenario.tasks[1])
    stored = plugin.buffer.logits
    assert (stored[:, :2] == 7.0).all()
    assert stored[:, 4:].isnan().all()
    if fill:
        answers = learner.head(learner.features_of(plugin.buffer.indices.numpy())).detach()
        torch.testing.assert_close(stored[:, 2:4], answers[:, 2:4])
    else:
        assert stored[:, 2:4].isnan().all()


class Extra(Plugin):
    """Adds samples to every batch, as a plugin with a buffer does."""

    def transform_batch(self, learner: Learner, batch: Batch) -> Batch:
        rows = torch.from_numpy(learner.scenario.tasks[0].train[:17])
        return batch.extended(learner.images_of(rows.numpy()), learner.labels_of(rows.numpy()), rows)


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", ["replay", "mix_cd", "icarl"])
def test_as_many_as_the_batch_has_are_as_many_as_are_its_own(name: str, first: bool, make_stream: Any) -> None:
    plugin: Any = {"replay": Replay(capacity=60), "mix_cd": MixCD(), "icarl": ICaRL(capacity=60)}[name]
    sizes: list[tuple[int, int]] = []

    class Sizes(Plugin):
        def loss(self, learner: Learner, step: Step) -> None:
            if learner.task is not None and learner.task.index == 2:
                sizes.append((step.batch.own, len(step.batch)))

    if name == "icarl":
        plugin.loss = lambda learner, step: None  # it has no targets for what others add
    stream = make_stream(*([Extra(), plugin] if first else [plugin, Extra()]), Sizes())
    stream.run()
    assert all(whole == 2 * own + 17 for own, whole in sizes)


@pytest.mark.slow
@pytest.mark.parametrize("offer", ["first_epoch", "every_epoch"])
def test_exemplars_among_the_images_of_a_task_are_not_offered_as_new(
    offer: Any, make_stream: Any, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin, offered = DER(capacity=20, offer=offer), list[tuple[int, set[int]]]()
    stream = make_stream(WA(capacity=20), plugin, epochs=2)
    add = ExemplarBuffer.add

    def watched(
        self: ExemplarBuffer, images: Any, labels: Any, indices: torch.Tensor, *given: Any, **more: Any
    ) -> None:
        if self is plugin.buffer:
            offered.append((stream.learner.task.index, set(indices.tolist())))
        add(self, images, labels, indices, *given, **more)

    monkeypatch.setattr(ExemplarBuffer, "add", watched)
    stream.run()
    for task in scenario.tasks:
        assert set.union(*(rows for index, rows in offered if index == task.index)) == set(task.train.tolist())


@pytest.mark.slow
def test_der_draws_a_full_batch_beside_a_small_last_one(make_stream: Any) -> None:
    plugin = DER(capacity=60)
    drawn: list[tuple[int, int]] = []
    rehearse = plugin.rehearse

    def watch(learner: Learner, number: int) -> tuple[torch.Tensor, Step]:
        held = len(plugin.buffer)
        chosen, replayed = rehearse(learner, number)
        drawn.append((held, len(chosen)))
        return chosen, replayed

    plugin.rehearse = watch  # type: ignore[method-assign]
    stream = make_stream(plugin)
    stream.run()
    size = stream.learner.options.batch_size
    assert all(number == min(held, size) for held, number in drawn)
    assert any(held >= size for held, _ in drawn)
    assert any(len(task.train) % size for task in stream.scenario.tasks[1:])


@pytest.mark.slow
def test_der_draws_no_more_for_what_other_plugins_add(make_stream: Any) -> None:
    alone, beside = make_stream(DER(capacity=60)), make_stream(Extra(), DER(capacity=60))
    alone.run()
    beside.run()
    for one, other in zip(alone.tasks, beside.tasks, strict=True):
        assert other.gradient_samples - one.gradient_samples == 17 * one.steps


@pytest.mark.slow
def test_der_forgets_less_than_fine_tuning(make_stream: Any) -> None:
    plain, der = make_stream(Finetune(), epochs=2), make_stream(DER(capacity=40), epochs=2)
    plain.run()
    der.run()
    first = [stream.matrix.counts().of("class_incremental").accuracy[-1, 0] for stream in (plain, der)]
    assert first[1] > first[0] + 0.2


@pytest.mark.slow
def test_agem_never_leaves_a_gradient_against_the_exemplars(make_stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    overlaps: list[tuple[float, float]] = []
    plugin = AGEM(capacity=30, batch_size=20)
    kept: list[torch.Tensor] = []

    def spy(step: Step, parameters: list[torch.nn.Parameter]) -> torch.Tensor:
        kept.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]).clone())
        kept.append(gradient_of(step, parameters))
        return kept[-1]

    monkeypatch.setattr("clsuite_plugins.agem.gradient_of", spy)

    class After(Plugin):
        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            if kept:
                after = torch.cat([p.grad.flatten() for p in pl_module.parameters() if p.grad is not None])
                before, against = kept
                overlaps.append((float(before @ against), float(after @ against) / float(against @ against)))
                kept.clear()

    make_stream(plugin, After()).run()
    assert any(before < 0 for before, _ in overlaps)
    assert all(after > -1e-4 for _, after in overlaps)
    assert all(abs(after) < 1e-4 for before, after in overlaps if before < 0)


def test_gdumb_wants_classes_of_all_tasks_to_compete(make_stream: Any) -> None:
    with pytest.raises(UserError, match=r"gdumb needs training\.loss: global"):
        make_stream(GDumb(capacity=24), loss="local").run()


def test_joint_wants_classes_of_all_tasks_to_compete(make_stream: Any) -> None:
    with pytest.raises(UserError, match=r"joint needs training\.loss: global"):
        make_stream(Joint(), loss="local").run()


@pytest.mark.slow
@pytest.mark.parametrize("plugin", [GDumb(capacity=24), Joint()])
def test_who_starts_again_starts_without_the_optimizers_state(plugin: Plugin, make_stream: Any) -> None:
    counts: list[set[float]] = []

    class Look(Plugin):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 0:
                state = trainer.optimizers[0].state.values()
                counts.append({float(values["step"]) for values in state})

    make_stream(plugin, Look(), recreate_optimizer=False).run()
    assert counts == [set()] * 3


@pytest.mark.slow
def test_gdumb_passes_over_its_exemplars_often_where_the_stream_passes_once(
    make_stream: Any, scenario: Scenario
) -> None:
    online = dataclasses.replace(scenario, kind="online")
    with pytest.raises(UserError, match="passes once"):
        make_stream(Finetune(), on=online, epochs=5).run()
    stream = make_stream(GDumb(capacity=24), on=online, epochs=5)
    stream.run()
    assert [task.gradient_samples for task in stream.tasks] == [5 * 24] * 3


def test_gdumb_trains_on_a_balanced_buffer_alone(make_stream: Any, scenario: Scenario) -> None:
    watch, plugin = Watch(), GDumb(capacity=24)
    stream = make_stream(plugin, watch)
    stream.run()
    last = torch.cat(watch.rows[-stream.tasks[-1].steps :]).numpy()
    np.testing.assert_array_equal(np.sort(last), np.sort(plugin.buffer.indices.numpy()))
    assert np.bincount(scenario.labels[last]).tolist() == [4] * 6


@pytest.mark.slow
def test_fpf_moves_the_chosen_modules_alone_and_takes_them_back(make_stream: Any) -> None:
    before, after = Watch(weights), Watch(weights)
    stream = make_stream(Replay(capacity=20), before, FPF(steps=5), after)
    stream.run()
    for plain, tuned, left in zip(before.ends[:2], after.ends[:2], before.left, strict=True):
        moved = {name for name in plain if not torch.equal(plain[name], tuned[name])}
        assert moved
        assert all("norm" in name or name.startswith("head.") for name in moved)
        assert any("norm" in name for name in moved)
        assert all(torch.equal(plain[name], left[name]) for name in plain)
    kept = weights(stream.learner)
    assert all(torch.equal(after.ends[-1][name], kept[name]) for name in kept)


@pytest.mark.slow
def test_fpf_does_not_disturb_the_method(make_stream: Any) -> None:
    alone, beside = Watch(weights), Watch(weights)
    make_stream(Replay(capacity=20), alone).run()
    make_stream(Replay(capacity=20), beside, FPF(steps=5)).run()
    for one, other in zip(alone.ends, beside.ends, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.nightly
def test_fpf_mends_fine_tuning_with_a_buffer_of_its_own(make_stream: Any) -> None:
    plain, fpf = make_stream(Finetune()), make_stream(FPF(capacity=30, steps=60))
    plain.run()
    fpf.run()
    final = [stream.matrix.counts().of("class_incremental").accuracy[-1].mean() for stream in (plain, fpf)]
    assert final[1] > final[0] + 0.2


def test_fpf_must_come_after_the_buffer(make_stream: Any) -> None:
    with pytest.raises(UserError, match=r"fpf must come after the plugin that stores exemplars"):
        make_stream(FPF(), Replay()).run()


@pytest.mark.parametrize("plugin", [FPF(), KFPF()])
@pytest.mark.parametrize("first", [True, False])
def test_what_is_frozen_cannot_be_tuned(plugin: Plugin, first: bool, make_stream: Any) -> None:
    pair = [LinearProbe(), plugin] if first else [plugin, LinearProbe()]
    with pytest.raises(UserError, match=r"includes 'norm', but all of it is frozen: write modules: head$"):
        make_stream(*pair).run()


@pytest.mark.slow
def test_fpf_at_the_end_alone_costs_what_the_paper_spends(make_stream: Any) -> None:
    plain = make_stream()
    plain.run()
    for when, times in (("each", [1, 1, 1]), ("end", [0, 0, 1])):
        stream = make_stream(FPF(capacity=20, steps=4, batch_size=5, when=when))
        stream.run()
        more = [one.gradient_samples - two.gradient_samples for one, two in zip(stream.tasks, plain.tasks, strict=True)]
        assert more == [20 * time for time in times]


def test_fpf_borrows_from_one_alone(make_stream: Any) -> None:
    with pytest.raises(UserError, match=r"fpf borrows the exemplars of one plugin, but Replay and DER store exemplars"):
        make_stream(Replay(capacity=20), DER(capacity=20), FPF()).run()


def test_kfpf_is_not_asked_for_more_times_than_a_task_has_steps(make_stream: Any) -> None:
    with pytest.raises(UserError, match=r"kfpf: per_task is 20, but task 0 \(.*\) has 4 steps"):
        make_stream(KFPF(capacity=20, per_task=20)).run()


def test_fpf_on_a_frozen_backbone_tunes_the_head(make_stream: Any) -> None:
    before, after = Watch(weights), Watch(weights)
    make_stream(LinearProbe(), before, FPF(modules="head", steps=3), after).run()
    moved = {n for n in before.ends[1] if not torch.equal(before.ends[1][n], after.ends[1][n])}
    assert moved
    assert all(name.startswith("head.") for name in moved)


def test_an_unknown_kind_of_module_is_named(make_stream: Any) -> None:
    with pytest.raises(UserError, match=r"unknown kind of module 'norms'. Did you mean 'norm'\?"):
        make_stream(FPF(modules="norms+head")).run()


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 3])
def test_kfpf_fine_tunes_k_times_and_costs_less_than_replay(times: int, make_stream: Any) -> None:
    plain, kfpf = make_stream(Finetune()), make_stream(KFPF(capacity=20, per_task=times, steps=2, batch_size=5))
    plain.run()
    kfpf.run()
    for one, other in zip(plain.tasks, kfpf.tasks, strict=True):
        assert other.gradient_samples - one.gradient_samples == times * 2 * 5
        assert other.steps == one.steps


@pytest.mark.nightly
def test_kfpf_mends_fine_tuning(make_stream: Any) -> None:
    plain, kfpf = make_stream(Finetune()), make_stream(KFPF(capacity=30, steps=60))
    plain.run()
    kfpf.run()
    final = [stream.matrix.counts().of("class_incremental").accuracy[-1].mean() for stream in (plain, kfpf)]
    assert final[1] > final[0] + 0.2
