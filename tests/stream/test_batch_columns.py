"""Soft labels, weights and stored logits in training: CutMix and dark experience replay without another pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from interruptions import bits, interrupted
from torch import Tensor
from torch.nn import functional as F

from clsuite.data.batch import Batch
from clsuite.learner.learner import Learner, Step
from clsuite.plugin import Plugin, RehearsalPlugin, Traits, classification_loss
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.replay import Replay


class CutMix(Plugin):
    """Puts the left part of another image of the batch into each, and of its label as much."""

    def on_task_start(self, learner: Learner, task: Any) -> None:
        self.draws = learner.generator("cutmix")

    def transform_batch(self, learner: Learner, batch: Batch) -> Batch:
        if batch.images is None:
            return batch
        order = torch.randperm(len(batch), generator=self.draws)
        images, width = batch.images.clone(), batch.images.shape[-1] // 4
        images[..., :width] = batch.images[order][..., :width]
        hot = F.one_hot(batch.labels, learner.head.classes).float()
        return batch.with_images(images).with_columns(targets=0.75 * hot + 0.25 * hot[order])


class Weighs(Plugin):
    """Gives all samples one weight, or those of one class none."""

    def __init__(self, weight: float = 1.0, without: int = -1) -> None:
        super().__init__()
        self.weight, self.without = weight, without

    def transform_batch(self, learner: Learner, batch: Batch) -> Batch:
        return batch.with_columns(weights=self.weight * (batch.labels != self.without).float())


@pytest.mark.slow
def test_cutmix_composes_with_replay_in_parts_and_survives_an_interruption(make_stream: Any, tmp_path: Path) -> None:
    training = {"accumulate": 2, "loss": "local"}
    alone = make_stream(Replay(12), CutMix(), **training)
    alone.run()
    step = alone.tasks[1].steps - 1
    again = interrupted(make_stream, tmp_path / "x.ckpt", 1, step, lambda: [Replay(12), CutMix()], **training)
    for mine, his in zip(bits(again), bits(alone), strict=True):
        assert mine == his


@pytest.mark.slow
def test_weights_of_one_are_no_weights_and_those_of_none_leave_samples_out(make_stream: Any) -> None:
    one, plain, half = (make_stream(plugin) for plugin in (Weighs(), Finetune(), Weighs(0.5)))
    for stream in (one, plain, half):
        stream.run()
    assert half.tasks[0].final_loss < 0.7 * plain.tasks[0].final_loss or half.tasks[0].final_loss < 0.1
    for name, value in one.learner.state_dict().items():
        assert torch.allclose(value, plain.learner.state_dict()[name], atol=1e-5), name


@pytest.mark.parametrize("scope", ["global", "local"])
def test_hard_soft_labels_give_the_cross_entropy(scope: Any) -> None:
    draws = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(6, 5, generator=draws), torch.tensor([0, 1, 2, 3, 4, 3])
    weights = torch.rand(6, generator=draws)
    plain = classification_loss(logits, labels, scope, [3, 4])
    soft = classification_loss(logits, labels, scope, [3, 4], targets=F.one_hot(labels, 5).float())
    assert torch.allclose(plain, soft)
    each = torch.stack([classification_loss(logits[n : n + 1], labels[n : n + 1], scope, [3, 4]) for n in range(6)])
    for targets in (None, F.one_hot(labels, 5).float()):
        found = classification_loss(logits, labels, scope, [3, 4], weights=weights, targets=targets)
        assert torch.allclose(found, (weights * each).mean())


def test_mixed_labels_are_those_of_torch_and_of_fewer_classes_too() -> None:
    draws = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(6, 5, generator=draws), torch.rand(6, 3, generator=draws)
    targets = targets / targets.sum(dim=1, keepdim=True)
    wide = torch.cat([targets, torch.zeros(6, 2)], dim=1)
    found = classification_loss(logits, torch.zeros(6, dtype=torch.long), "global", [0], targets=targets)
    assert torch.allclose(found, F.cross_entropy(logits, wide))
    mixed = torch.tensor([[0.5, 0.0, 0.5], [0.0, 0.5, 0.5]])
    local = classification_loss(logits[:2, :3], torch.tensor([2, 2]), "local", [1, 2], targets=mixed)
    among = torch.stack([
        F.cross_entropy(logits[:1, :3], mixed[:1]), F.cross_entropy(logits[1:2, 1:3], mixed[1:, 1:]),
    ])  # fmt: skip
    assert torch.allclose(local, among.mean())


class Dark(RehearsalPlugin):
    """DER on the exemplars of the batch itself: their stored logits come with them."""

    traits = Traits(memory=("exemplars", "logits"))

    def __init__(self) -> None:
        super().__init__("dark", 12, with_logits=True)
        self.compared = 0

    def transform_batch(self, learner: Learner, batch: Batch) -> Batch:
        return self.extend(batch)

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        self.add_step(learner, step)
        stored = step.batch.columns.get("logits")
        if stored is None:
            return None
        assert stored[~step.batch.replayed].isnan().all()
        known = ~stored.isnan()
        known = known[:, : step.logits.shape[1]]
        self.compared += int(known.sum())
        gap = (step.logits - stored[:, : step.logits.shape[1]])[known]
        return gap.square().mean()


def test_no_exemplars_are_added_if_none_are_asked_for(make_stream: Any) -> None:
    added: list[list[int]] = []

    class Adds(Replay):
        def transform_batch(self, learner: Learner, batch: Batch) -> Batch:
            before = self.draws.get_state()
            assert self.extend(batch, 0) is batch
            assert torch.equal(self.draws.get_state(), before)
            added.append([len(self.extend(batch, number)) - len(batch) for number in (2, None)])
            return batch

    make_stream(Adds(12)).run()
    assert [max(numbers) for numbers in zip(*added, strict=True)] == [2, 8]


def test_stored_logits_come_with_the_batch(make_stream: Any) -> None:
    dark = Dark()
    make_stream(dark).run()
    assert dark.compared > 0
