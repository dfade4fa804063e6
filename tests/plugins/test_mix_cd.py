"""mix-cd: what it counts, what it draws, and what it costs."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from clsuite.errors import UserError
from clsuite.learner.learner import Learner, Step
from clsuite.learner.options import OptimizerSpec
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import find_plugin
from clsuite.plugin.compatibility import check_method
from clsuite.scenarios import Scenario
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.mix_cd import MixCD, part_in_bins


class Count(Plugin):
    """Counts damage by hand, from the prior model's answers before each task."""

    def __init__(self, watched: MixCD) -> None:
        super().__init__()
        self.watched, self.checked = watched, 0
        self.rehearsed: list[int] = []

    def on_task_start(self, learner: Learner, task: Any) -> None:
        self.right: dict[int, bool] = {}
        known = learner.scenario.seen_classes(task.index)
        self.hits, self.draws = np.zeros(len(self.watched._hits)), np.zeros(len(self.watched._hits))
        for earlier in learner.scenario.tasks[: task.index]:
            images = torch.from_numpy(learner.scenario.table.images[earlier.train])
            learner.eval()
            with torch.no_grad():
                answers = learner(learner.backbone.normalize(images))[:, :known].argmax(dim=1)
            right = answers == torch.from_numpy(learner.scenario.labels[earlier.train])
            self.right |= dict(zip(earlier.train.tolist(), right.tolist(), strict=True))

    def loss(self, learner: Learner, step: Step) -> None:
        chosen = step.batch.replayed.nonzero().flatten().tolist()
        self.rehearsed.append(len(chosen))
        self.hits, self.draws = 0.99 * self.hits, 0.99 * self.draws
        bins = dict(zip(self.watched._rows.tolist(), self.watched._bin.tolist(), strict=False))
        for position in chosen:
            row = int(step.batch.indices[position])
            wrong = int(step.logits[position].argmax()) != int(step.batch.labels[position])
            self.draws[bins[row]] += 1
            self.hits[bins[row]] += wrong and self.right[row]
        if chosen:
            overall = self.hits.sum() / self.draws.sum()
            np.testing.assert_allclose(
                self.watched.rates().numpy(), (self.hits + overall) / (self.draws + 1), rtol=1e-4
            )
            self.checked += 1


@pytest.mark.parametrize("bins", ["loss", "labels", "both"])
def test_rates_are_those_of_damage_among_the_rehearsed(bins: Any, make_stream: Any, scenario: Scenario) -> None:
    plugin = MixCD(batch_size=6, bins=bins, levels=3)
    counter = Count(plugin)
    stream = make_stream(plugin, counter, optimizer=OptimizerSpec(lr=3e-3, head_lr=1e-2))
    stream.run()
    steps = [task.steps for task in stream.tasks]
    assert counter.rehearsed == [0] * steps[0] + [6] * (steps[1] + steps[2])
    assert counter.checked == steps[1] + steps[2]
    assert plugin._right.any()
    assert plugin.rates().max() > plugin.rates().min()
    kept = np.sort(np.concatenate([task.train for task in scenario.tasks]))
    np.testing.assert_array_equal(plugin._rows.numpy(), kept)
    assert plugin.stored_bytes()["exemplars"] == len(kept) * (32 * 32 + 8)
    assert [task.gradient_samples for task in stream.tasks][1] == len(scenario.tasks[1].train) + 6 * steps[1]


@pytest.mark.slow
def test_one_pass_of_the_prior_model_per_task_and_no_other(make_stream: Any, scenario: Scenario) -> None:
    passes = {}
    for name, plugin in {"finetune": Finetune(), "mix_cd": MixCD(batch_size=4)}.items():
        seen: list[tuple[bool, int]] = []
        stream = make_stream(plugin)
        stream.learner.backbone.register_forward_hook(
            lambda module, args, output, seen=seen: seen.append((module.training, len(output)))
        )
        stream.run()
        passes[name] = {mode: sum(size for training, size in seen if training == mode) for mode in (True, False)}
        steps = sum(task.steps for task in stream.tasks[1:])
    first, second = (len(task.train) for task in scenario.tasks[:2])
    assert passes["mix_cd"][False] - passes["finetune"][False] == first + (first + second)
    assert passes["mix_cd"][True] - passes["finetune"][True] == 4 * steps


def learned(plugin: MixCD, sizes: list[int], hits: list[float], draws: list[float]) -> MixCD:
    plugin._put_in_bins(torch.cat([torch.full((size,), number) for number, size in enumerate(sizes)]))
    plugin._rows = torch.arange(len(plugin._bin))
    plugin._random = torch.Generator().manual_seed(0)
    plugin._hits, plugin._draws = torch.tensor(hits), torch.tensor(draws)
    return plugin


@pytest.mark.slow
def test_samples_are_drawn_by_the_rate_of_their_bin_with_a_floor() -> None:
    plugin = learned(MixCD(floor=0.2), [10, 30, 0, 60], [3.0, 0.0, 0.0, 1.0], [3.0, 9.0, 0.0, 8.0])
    rates = np.array([3.2 / 4, 0.2 / 10, 0, 1.2 / 9])
    expected = 0.8 * rates / rates.sum() + 0.2 * np.array([0.1, 0.3, 0, 0.6])
    np.testing.assert_allclose(plugin.shares().numpy(), expected, rtol=1e-5)
    drawn = torch.cat([plugin.draw(1) for _ in range(8000)])
    np.testing.assert_allclose(np.bincount(plugin._bin[drawn], minlength=4) / 8000, expected, atol=0.02)
    inside = np.bincount(drawn[plugin._bin[drawn] == 3] - 40, minlength=60)
    assert stats.chisquare(inside).pvalue > 0.01


def test_what_is_drawn_is_different_and_by_the_same_law_as_from_all_at_once() -> None:
    """Drawing over what was drawn already is drawing without replacement, sample by sample."""
    plugin = learned(MixCD(floor=0.1), [2, 8, 30], [2.0, 1.0, 0.0], [4.0, 4.0, 4.0])
    weights = (plugin.shares() / plugin._sizes)[plugin._bin]
    ours = torch.stack([plugin.draw(6) for _ in range(3000)])
    assert all(len(row.unique()) == 6 for row in ours)
    theirs = torch.stack([torch.multinomial(weights, 6, generator=plugin._random) for _ in range(3000)])
    tables = [np.bincount(drawn.flatten(), minlength=40) for drawn in (ours, theirs)]
    assert stats.chi2_contingency(np.stack(tables)).pvalue > 0.01
    assert sorted(plugin.draw(40).tolist()) == list(range(40))


def test_the_effort_of_a_draw_does_not_follow_all_data() -> None:
    small, large = (learned(MixCD(), [size] * 10, [1.0] * 10, [2.0] * 10) for size in (100, 200_000))
    seconds = []
    for plugin in (small, large):
        plugin.draw(32)
        started = time.perf_counter()
        for _ in range(50):
            plugin.draw(32)
        seconds.append(time.perf_counter() - started)
    assert seconds[1] < 10 * seconds[0]  # all at once takes some 500 times as long


@pytest.mark.parametrize(("floor", "hits"), [(1.0, [5.0, 0.0]), (0.1, [0.0, 0.0])])
def test_all_are_alike_with_a_full_floor_or_without_damage(floor: float, hits: list[float]) -> None:
    shares = learned(MixCD(floor=floor), [5, 15], hits, [5.0, 5.0]).shares()
    torch.testing.assert_close(shares, torch.tensor([0.25, 0.75]))


def test_bins_are_of_equal_size_and_follow_the_loss() -> None:
    loss, labels = torch.tensor([0.1, 0.9, 0.3, 0.5, 0.2, 0.8]), torch.tensor([7, 7, 7, 7, 3, 3])
    assert part_in_bins(loss, labels, "labels", 2).tolist() == [1, 1, 1, 1, 0, 0]
    assert part_in_bins(loss, labels, "loss", 3).tolist() == [0, 2, 1, 1, 0, 2]
    assert part_in_bins(loss, labels, "both", 2).tolist() == [2, 3, 2, 3, 0, 1]


@pytest.mark.parametrize("kind", ["online", "blurry"])
def test_streams_that_pass_once_are_refused(kind: str) -> None:
    with pytest.raises(UserError, match=f"'mix_cd' cannot learn {kind} streams: it keeps all data"):
        check_method([("mix_cd", find_plugin("mix_cd")[1])], kind)


@pytest.mark.parametrize(
    "given", [{"batch_size": 0}, {"levels": 0}, {"floor": 0.0}, {"floor": 1.5}, {"decay": -0.1}, {"decay": 1.1}]
)
def test_values_that_cannot_be(given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"mix_cd: .* must "):
        MixCD(**given)
