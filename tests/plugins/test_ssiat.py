"""SSIAT: statistics that follow the drift of features, sessions of one adapter, and the aligned head."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch.nn import functional as F

import clsuite_plugins.ssiat as module
from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.options import OptimizerSpec
from clsuite.peft import build_pet
from clsuite.plugin import Scenario, Task
from clsuite.plugin.catalog import find_plugin
from clsuite.plugin.compatibility import check_method
from clsuite_plugins.ssiat import SSIAT, drift

TRAINING = {"loss": "local", "head": "cosine", "optimizer": OptimizerSpec(name="sgd", lr=0.1, head_lr=0.03)}
SMALL = {"size": 4, "samples": 16}


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_where_features_stay_means_stay() -> None:
    features = drawn(7, 5)
    assert torch.equal(drift(drawn(3, 5, seed=1), features, features, 4.0, 1e-5), torch.zeros(3, 5))


@pytest.mark.parametrize("sigma", [1e-3, 0.5, 4.0, 100.0])
def test_a_shift_of_all_features_is_that_of_every_mean(sigma: float) -> None:
    features, shift = drawn(7, 5), drawn(5, seed=2)
    moved = drift(drawn(3, 5, seed=1), features, features + shift, sigma, 1e-5)
    torch.testing.assert_close(moved, shift.expand(3, 5))


def test_a_narrow_sigma_leaves_the_floor_alone() -> None:
    """No weight is left but the constant, which is the same for all: the mean shift, and no division by zero."""
    before, after = drawn(7, 5), drawn(7, 5, seed=3)
    moved = drift(drawn(3, 5, seed=1) + 50, before, after, 1e-3, 1e-5)
    torch.testing.assert_close(moved, (after - before).mean(dim=0).expand(3, 5))


def test_near_images_count_more_by_the_papers_weight() -> None:
    before = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    after = before + torch.tensor([[0.0, 1.0], [0.0, -1.0]])
    near, far = (torch.exp(torch.tensor(-(d**2) / 8.0)) + 1e-5 for d in (1.0, 3.0))
    moved = drift(torch.zeros(1, 2), before, after, 2.0, 1e-5)
    torch.testing.assert_close(moved, torch.tensor([[0.0, float((near - far) / (near + far))]]))


class Watched(SSIAT):
    """Keeps the head, the statistics and the features of older classes' images at each end of a task."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**{**SMALL, **given})
        self.begun: list[list[torch.Tensor]] = []
        self.trained: list[list[torch.Tensor]] = []
        self.means: list[torch.Tensor] = []
        self.pairs: list[tuple[torch.Tensor, torch.Tensor]] = []

    def on_task_start(self, learner: Learner, task: Task) -> None:
        super().on_task_start(learner, task)
        self.begun.append([value.detach().clone() for value in learner.head.parameters()])

    def on_task_end(self, learner: Learner, task: Task) -> None:
        self.trained.append([value.detach().clone() for value in learner.head.parameters()])
        if self._before is not None:
            self.pairs.append((self._before, learner.features_of(task.train)))
        super().on_task_end(learner, task)
        self.means.append(self._gaussians.means.clone())


def test_older_groups_of_the_head_rest_and_move_in_the_alignment_alone(make_stream: Any) -> None:
    plugin = Watched()
    stream = make_stream(plugin, **TRAINING)
    stream.run()
    assert float(stream.learner.head.scale) == 20.0
    for task in (1, 2):
        groups = slice(1, 1 + task)  # the scale, then a weight for each session
        same = [torch.equal(*both) for both in zip(plugin.begun[task], plugin.trained[task], strict=True)]
        assert all(same[groups])
        assert not same[-1]
    now = list(stream.learner.head.parameters())
    assert not any(torch.equal(*both) for both in zip(plugin.trained[2][1:], now[1:], strict=True))


def test_means_of_older_classes_move_with_the_images_and_new_ones_are_added(make_stream: Any) -> None:
    plugin = Watched(sigma_kind="relative", sigma=0.5)
    make_stream(plugin, **TRAINING, epochs=2).run()
    for task, (before, after) in enumerate(plugin.pairs, start=1):
        old, new = plugin.means[task - 1], plugin.means[task]
        assert len(new) == 2 * (task + 1)
        sigma = 0.5 * float(torch.cdist(old, before).median())
        weights = torch.exp(-torch.cdist(old, before).square() / (2 * sigma**2)) + 1e-5
        expected = old + weights @ (after - before) / weights.sum(dim=1, keepdim=True)
        torch.testing.assert_close(new[: 2 * task], expected, rtol=1e-4, atol=1e-5)
        assert not torch.equal(new[: 2 * task], old)


def test_the_margin_is_cosface(make_stream: Any, scenario: Scenario) -> None:
    plugin = SSIAT(**SMALL, margin=0.3, scale=30.0)
    learner = make_stream(plugin, **TRAINING).learner
    learner.start(scenario)
    for task in scenario.tasks[:2]:
        learner.begin_task(task)
    step = learner.step_of(next(iter(learner.batches_of(scenario.tasks[1].train))))
    weights = torch.cat([group.weight for group in learner.head.groups])
    cosines = F.normalize(step.features, dim=1) @ F.normalize(weights, dim=1).T
    own = step.batch.labels - 2
    margins = 30 * (cosines[:, 2:] - 0.3 * F.one_hot(own, 2))
    torch.testing.assert_close(plugin.classification(learner, step), F.cross_entropy(margins, own))
    assert SSIAT(**SMALL).classification(learner, step) is None


def test_sessions_have_epochs_of_their_own(make_stream: Any) -> None:
    stream = make_stream(SSIAT(**SMALL, first_epochs=3, later_epochs=2), **TRAINING, batch_size=64)
    stream.run()
    assert [task.steps for task in stream.tasks] == [3, 2, 2]


def test_the_adapter_has_the_papers_parameters() -> None:
    with torch.device("meta"):
        model = timm.create_model("vit_base_patch16_224")
    built = build_pet("adaptformer", model, size=64, blocks="all", generator=torch.Generator())
    assert sum(value.numel() for value in built.parameters()) == 1_189_632


@pytest.mark.slow
def test_alignment_is_what_makes_old_and_new_classes_comparable(
    make_stream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    finals = []
    for aligned in (True, False):
        if not aligned:
            monkeypatch.setattr(module, "align_head", lambda *_, **__: None)
        stream = make_stream(SSIAT(size=4, samples=64), **TRAINING, epochs=3)
        stream.run()
        finals.append(stream.matrix.counts().of("class_incremental").accuracy[-1].mean())
    assert finals[0] > finals[1] + 0.05, finals


def test_what_is_refused(make_stream: Any, scenario: Scenario) -> None:
    with pytest.raises(UserError, match=r"ssiat: training\.head must be cosine"):
        make_stream(SSIAT(), head="linear").learner.start(scenario)
    with pytest.raises(UserError, match=r"ssiat: training\.head_classes must be seen"):
        make_stream(SSIAT(), head="cosine", head_classes="stream").learner.start(scenario)
    with pytest.raises(UserError, match=r"ssiat: sigma is 0\.0, but must be above 0"):
        SSIAT(sigma=0.0)
    with pytest.raises(UserError, match=r"ssiat: later_epochs is 0, but must be at least 1"):
        SSIAT(later_epochs=0)
    for other, reason in {"momentum": "aligned to features of other weights", "pet": "both freeze"}.items():
        with pytest.raises(UserError, match=reason):
            check_method([(name, find_plugin(name)[1]) for name in ("ssiat", other)], "class_incremental")
    check_method([(name, find_plugin(name)[1]) for name in ("acl", "ssiat")], "class_incremental")
