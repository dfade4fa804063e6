"""DER, A-GEM, GDumb, FPF and k-FPF do what their papers say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clsuite.errors import UserError
from clsuite.learner.learner import Learner, Step
from clsuite.plugin import Plugin
from clsuite.scenarios import Scenario
from clsuite_plugins.agem import AGEM
from clsuite_plugins.der import DER
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.fpf import FPF
from clsuite_plugins.gdumb import GDumb
from clsuite_plugins.kfpf import KFPF
from clsuite_plugins.linear_probe import LinearProbe
from clsuite_plugins.replay import Replay


class Watch(Plugin):
    """Keeps the rows of every batch, and what a function sees at each task's end and before the next."""

    def __init__(self, look: Any = lambda learner: None) -> None:
        super().__init__()
        self.look = look
        self.rows: list[torch.Tensor] = []
        self.ends: list[Any] = []
        self.left: list[Any] = []

    def loss(self, learner: Learner, step: Step) -> None:
        self.rows.append(step.batch.rows)

    def on_task_end(self, learner: Learner, task: Any) -> None:
        self.ends.append(self.look(learner))

    def before_next_task(self, learner: Learner, task: Any) -> None:
        self.left.append(self.look(learner))


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in learner.named_parameters()}


def test_der_stores_the_logits_of_the_moment(make_stream: Any) -> None:
    plugin = DER(capacity=30)
    seen: dict[int, torch.Tensor] = {}

    class Logits(Plugin):
        def loss(self, learner: Learner, step: Step) -> None:
            for row, logits in zip(step.batch.rows.tolist(), step.logits.detach(), strict=True):
                seen.setdefault(row, logits.clone())

    stream = make_stream(plugin, Logits(), epochs=2)
    stream.run()
    assert len(plugin.buffer) == 30
    assert len(set(plugin.buffer.rows.tolist())) == 30
    for row, stored in zip(plugin.buffer.rows.tolist(), plugin.buffer.logits, strict=True):
        known = ~stored.isnan()
        assert int(known.sum()) == len(seen[row])
        torch.testing.assert_close(stored[known], seen[row], rtol=0, atol=0)


def test_der_without_weights_is_fine_tuning(make_stream: Any) -> None:
    plain, der = make_stream(Finetune()), make_stream(DER(capacity=30, alpha=0.0, beta=0.0))
    plain.run()
    der.run()
    assert plain.matrix.counts() == der.matrix.counts()
    assert sum(task.gradient_samples for task in der.tasks) > sum(task.gradient_samples for task in plain.tasks)


def test_der_forgets_less_than_fine_tuning(make_stream: Any) -> None:
    plain, der = make_stream(Finetune(), epochs=2), make_stream(DER(capacity=40), epochs=2)
    plain.run()
    der.run()
    first = [stream.matrix.counts().of("class_incremental").accuracy[-1, 0] for stream in (plain, der)]
    assert first[1] > first[0] + 0.2


def test_agem_never_leaves_a_gradient_against_the_exemplars(make_stream: Any) -> None:
    overlaps: list[tuple[float, float]] = []
    plugin = AGEM(capacity=30, batch_size=20)
    reference = plugin._reference
    kept: list[torch.Tensor] = []

    def spy(learner: Learner, parameters: list[torch.nn.Parameter]) -> torch.Tensor:
        kept.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]).clone())
        kept.append(reference(learner, parameters))
        return kept[-1]

    plugin._reference = spy  # type: ignore[method-assign]

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


def test_gdumb_trains_on_a_balanced_buffer_alone(make_stream: Any, scenario: Scenario) -> None:
    watch, plugin = Watch(), GDumb(capacity=24)
    stream = make_stream(plugin, watch)
    stream.run()
    last = torch.cat(watch.rows[-stream.tasks[-1].steps :]).numpy()
    np.testing.assert_array_equal(np.sort(last), np.sort(plugin.buffer.rows.numpy()))
    assert np.bincount(scenario.labels[last]).tolist() == [4] * 6


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


def test_fpf_does_not_disturb_the_method(make_stream: Any) -> None:
    alone, beside = Watch(weights), Watch(weights)
    make_stream(Replay(capacity=20), alone).run()
    make_stream(Replay(capacity=20), beside, FPF(steps=5)).run()
    for one, other in zip(alone.ends, beside.ends, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_fpf_mends_fine_tuning_with_a_buffer_of_its_own(make_stream: Any) -> None:
    plain, fpf = make_stream(Finetune()), make_stream(FPF(capacity=30, steps=60))
    plain.run()
    fpf.run()
    final = [stream.matrix.counts().of("class_incremental").accuracy[-1].mean() for stream in (plain, fpf)]
    assert final[1] > final[0] + 0.2


def test_fpf_must_come_after_the_buffer(make_stream: Any) -> None:
    with pytest.raises(UserError, match=r"fpf must come after the plugin that stores exemplars"):
        make_stream(FPF(), Replay()).run()


def test_fpf_on_a_frozen_backbone_tunes_the_head(make_stream: Any) -> None:
    before, after = Watch(weights), Watch(weights)
    make_stream(LinearProbe(), before, FPF(steps=3), after).run()
    moved = {n for n in before.ends[1] if not torch.equal(before.ends[1][n], after.ends[1][n])}
    assert moved
    assert all(name.startswith("head.") for name in moved)


def test_an_unknown_kind_of_module_is_named(make_stream: Any) -> None:
    with pytest.raises(UserError, match=r"unknown kind of module 'norms'. Did you mean 'norm'\?"):
        make_stream(FPF(modules="norms+head")).run()


@pytest.mark.parametrize("times", [1, 3])
def test_kfpf_fine_tunes_k_times_and_costs_less_than_replay(times: int, make_stream: Any) -> None:
    plain, kfpf = make_stream(Finetune()), make_stream(KFPF(capacity=20, per_task=times, steps=2, batch_size=5))
    plain.run()
    kfpf.run()
    for one, other in zip(plain.tasks, kfpf.tasks, strict=True):
        assert other.gradient_samples - one.gradient_samples == times * 2 * 5
        assert other.steps == one.steps


def test_kfpf_mends_fine_tuning(make_stream: Any) -> None:
    plain, kfpf = make_stream(Finetune()), make_stream(KFPF(capacity=30, steps=60))
    plain.run()
    kfpf.run()
    final = [stream.matrix.counts().of("class_incremental").accuracy[-1].mean() for stream in (plain, kfpf)]
    assert final[1] > final[0] + 0.2
