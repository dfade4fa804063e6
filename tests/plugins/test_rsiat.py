"""RSIAT: the loss of the first session, the autoencoder of later ones, and what it has of SSIAT."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.options import OptimizerSpec
from clsuite.peft import only
from clsuite.plugin import Scenario, Task
from clsuite_plugins.rsiat import RSIAT, ResidualAutoencoder, steered
from clsuite_plugins.ssiat import SSIAT

OPTIMIZER = OptimizerSpec(name="sgd", lr=0.3, head_lr=0.03, weight_decay=5e-4)
TRAINING = {"loss": "local", "head": "cosine", "optimizer": OPTIMIZER}
SMALL: dict[str, Any] = {"size": 4, "samples": 16, "align_epochs": 2}
OWN = {"code": 8, "hidden": 8, "autoencoder_lr": 0.05, "autoencoder_decay": 2.9e-3}


def test_pairs_of_one_class_are_drawn_together_and_others_apart() -> None:
    features = torch.tensor([[2.0, 0.0], [3.0, 4.0], [0.0, 5.0]])  # cosines 0.6, 0 and 0.8
    labels = torch.tensor([0, 0, 1])
    torch.testing.assert_close(steered(features, labels, 0.5, 0.3), torch.tensor(0.4 + 0.5 * (0.0 + 0.5) / 2))
    assert float(steered(features, torch.tensor([0, 0, 0]), 0.5, 0.3)) == pytest.approx((0.4 + 1.0 + 0.2) / 3)
    assert float(steered(features[:1], labels[:1], 0.5, 0.3)) == 0.0


def test_the_autoencoder_adds_to_what_it_is_given() -> None:
    module = ResidualAutoencoder(12, 5, 3, torch.Generator().manual_seed(0))
    assert [tuple(value.shape) for value in module.parameters() if value.dim() == 2] == [
        (5, 12),
        (3, 5),
        (5, 3),
        (12, 5),
    ]
    given = torch.randn(4, 12, generator=torch.Generator().manual_seed(1))
    added = module(given) - given
    assert float(added.detach().min()) > 0
    assert float(added.detach().max()) < 1


class Watched(RSIAT):
    """Keeps what sessions begin with and end with, and the weight decay of what is trained."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**{**SMALL, **OWN, **given})
        self.begun: list[dict[str, Tensor]] = []
        self.ended: list[dict[str, Tensor]] = []
        self.decays: list[set[float]] = []

    def on_task_start(self, learner: Learner, task: Task) -> None:
        super().on_task_start(learner, task)
        adapter, before = (one.state_dict() for one in self.adapters)
        assert all(torch.equal(value, before[name]) for name, value in adapter.items())
        self.begun.append(copy.deepcopy(self.autoencoder.state_dict()))

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.decays.append({group["weight_decay"] for group in trainer.optimizers[0].param_groups})

    def on_task_end(self, learner: Learner, task: Task) -> None:
        super().on_task_end(learner, task)
        self.ended.append(copy.deepcopy(self.autoencoder.state_dict()))


@pytest.fixture
def learned(make_stream: Any, scenario: Scenario) -> tuple[Watched, Any]:
    plugin = Watched()
    stream = make_stream(plugin, **TRAINING, on=scenario.first(2))
    stream.run()
    return plugin, stream


def test_the_autoencoder_is_trained_from_the_second_session_on_with_a_decay_of_its_own(
    learned: tuple[Watched, Any],
) -> None:
    plugin, stream = learned
    same = [
        all(torch.equal(value, end[name]) for name, value in begin.items())
        for begin, end in zip(plugin.begun, plugin.ended, strict=True)
    ]
    assert same == [True, False]
    assert plugin.decays[0] == {5e-4}
    assert plugin.decays[-1] == {5e-4, 2.9e-3}
    modules = sum(value.numel() for one in (plugin.adapters[0], plugin.autoencoder) for value in one.parameters())
    assert plugin.stored_bytes() == {"modules": 4 * modules, "statistics": plugin._gaussians.bytes}
    assert not any(value.requires_grad for value in plugin.adapters[1].parameters())
    assert plugin.adapters[0].enabled
    assert not plugin.adapters[1].enabled
    assert len(stream.tasks) == 2


def test_later_sessions_hold_features_near_to_what_the_autoencoder_makes_of_earlier_ones(
    learned: tuple[Watched, Any], scenario: Scenario
) -> None:
    plugin, stream = learned
    learner = stream.learner.eval()
    step = learner.step_of(next(iter(learner.batches_of(scenario.tasks[1].train))))
    loss = plugin.loss(learner, step)
    with torch.no_grad():
        with only(plugin.adapters, 1):
            before = learner.backbone(step.batch.images)
        mapped, means = plugin.autoencoder(before), plugin.autoencoder(plugin._older)
    assert len(means) == 2
    assert not torch.allclose(before, step.features, atol=1e-3)
    cosines = F.cosine_similarity(means[:, None], mapped[None], dim=2)
    expected = (step.features - mapped).square().mean() + 0.4 * cosines.mean()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    loss.backward()
    assert all(value.grad is not None for value in plugin.autoencoder.parameters())
    assert all(value.grad is None for value in plugin.adapters[1].parameters())


def test_without_its_losses_it_is_ssiat_to_the_bit(make_stream: Any, scenario: Scenario) -> None:
    plain = SSIAT(**SMALL, scale=40.0, margin=0.1)
    own = RSIAT(**SMALL, **OWN, steering=0.0, consistency=0.0, orthogonality=0.0)
    streams = [make_stream(plugin, **TRAINING, on=scenario.first(2)) for plugin in (plain, own)]
    for stream in streams:
        stream.run()
    mine, theirs = own.adapters[0].state_dict(), plain.registered_modules["adapter"].state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    assert (streams[0].matrix.class_incremental == streams[1].matrix.class_incremental).all()


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(UserError, match=r"rsiat: steering is -1\.0, but must be at least 0"):
        RSIAT(steering=-1.0)
    with pytest.raises(UserError, match="rsiat: code is 0, but must be at least 1"):
        RSIAT(code=0)
    with pytest.raises(UserError, match="ssiat: size is 0, but must be at least 1"):
        RSIAT(size=0)
