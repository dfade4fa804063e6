"""iCaRL: its loss, its exemplars and its rule of classification."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import pairwise_distances_argmin

from clsuite.data.batch import gather
from clsuite.errors import UserError
from clsuite.learner.learner import Learner, Step
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import find_plugin
from clsuite.plugin.compatibility import check_method
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.icarl import ICaRL


class Losses(Plugin):
    """Keeps what iCaRL's loss is in later tasks, beside the old model's answers."""

    def __init__(self, icarl: ICaRL) -> None:
        super().__init__()
        self.icarl, self.old, self.pairs = icarl, torch.zeros(0, 0), list[tuple[float, float]]()

    def on_task_start(self, learner: Learner, task: Any) -> None:
        if task.index == 1:
            rows = np.arange(len(learner.scenario.table))
            with torch.no_grad():
                self.old = learner.head(learner.features_of(rows))[:, :2].sigmoid()

    def loss(self, learner: Learner, step: Step) -> None:
        if learner.task is None or learner.task.index != 1:
            return
        probability, old = step.logits.detach().sigmoid().double(), self.old[step.batch.indices].double()
        labels = torch.eye(4).double()[step.batch.labels]
        targets = torch.cat([old, labels[:, 2:]], dim=1)
        binary = -(targets * probability.log() + (1 - targets) * (1 - probability).log()).sum(dim=1).mean()
        cross = torch.nn.functional.cross_entropy(step.logits.detach(), step.batch.labels)
        self.pairs.append((float(self.icarl.loss(learner, step).detach() + cross), float(binary)))


@pytest.mark.slow
def test_the_loss_is_binary_against_the_old_outputs_and_the_new_labels(make_stream: Any) -> None:
    icarl = ICaRL(capacity=12)
    losses = Losses(icarl)
    make_stream(icarl, losses).run()
    assert len(losses.pairs) > 2
    for measured, expected in losses.pairs:
        assert measured == pytest.approx(expected, rel=1e-4)


def test_nothing_remains_of_the_cross_entropy_with_label_smoothing(make_stream: Any, scenario: Any) -> None:
    losses: list[tuple[float, float]] = []

    class Look(Plugin):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            losses[-1] = (float(outputs["loss"]), losses[-1][1])

        def loss(self, learner: Learner, step: Step) -> None:
            labels = torch.nn.functional.one_hot(step.batch.labels, step.logits.shape[1]).float()
            binary = torch.nn.functional.binary_cross_entropy_with_logits(step.logits, labels, reduction="sum")
            losses.append((0.0, float(binary) / len(labels)))

    make_stream(ICaRL(capacity=12), Look(), label_smoothing=0.3, on=scenario.first(1)).run()
    assert len(losses) > 2
    for trained, binary in losses:
        assert trained == pytest.approx(binary, rel=1e-4)


@pytest.mark.slow
def test_it_answers_with_the_nearest_mean_of_its_herded_exemplars(make_stream: Any) -> None:
    icarl = ICaRL(capacity=18)
    stream = make_stream(icarl, epochs=2)
    stream.run()
    assert torch.bincount(icarl.buffer.labels).tolist() == [3] * 6
    learner = stream.learner
    normalized = torch.nn.functional.normalize
    stored = normalized(learner.features_of(icarl.buffer.indices.numpy()), dim=1)
    labels = icarl.buffer.labels
    means = torch.stack([normalized(stored[labels == label].mean(dim=0), dim=0) for label in range(6)])
    test = normalized(learner.features_of(stream.matrix.rows), dim=1).numpy()
    assert np.mean(pairwise_distances_argmin(test, means.numpy()) == stream.matrix.class_incremental[-1]) > 0.99


@pytest.mark.slow
def test_a_class_without_an_exemplar_is_never_answered(make_stream: Any, scenario: Any) -> None:
    icarl = ICaRL(capacity=6)
    stream = make_stream(icarl)
    stream.run()
    learner = stream.learner
    icarl._means[3] = 0
    answers = learner.predict_logits(gather_all(learner, scenario))
    assert torch.isfinite(answers).all()
    assert 3 not in answers.argmax(dim=1).tolist()
    assert (answers[:, 3] < answers[:, [0, 1, 2, 4, 5]].min() - 1).all()


@pytest.mark.parametrize("capacity", [1, 5])
def test_fewer_exemplars_than_classes_are_refused(capacity: int, make_stream: Any) -> None:
    with pytest.raises(UserError, match=f"^icarl: a herding buffer of {capacity} has fewer .* 6 classes"):
        make_stream(ICaRL(capacity=capacity)).run()


@pytest.mark.slow
def test_mirrored_exemplars_take_part_in_the_means(make_stream: Any) -> None:
    icarl = ICaRL(capacity=12, mirror=True)
    stream = make_stream(icarl)
    stream.run()
    learner, normalized = stream.learner.eval(), torch.nn.functional.normalize
    with torch.no_grad():
        whole = [
            normalized(learner.backbone(learner.backbone.normalize(images)), dim=1)
            for images in (icarl.buffer.images, icarl.buffer.images.flip(-1))
        ]
    for label in range(6):
        own = icarl.buffer.labels == label
        mean = normalized((whole[0][own].mean(dim=0) + whole[1][own].mean(dim=0)) / 2, dim=0)
        torch.testing.assert_close(icarl._means[label], mean, rtol=1e-4, atol=1e-5)


def gather_all(learner: Learner, scenario: Any) -> Any:
    rows = np.concatenate([task.test for task in scenario.tasks])
    batch = gather(scenario.table, scenario.labels, rows)
    learner.eval()
    return batch.with_images(learner.backbone.normalize(batch.images))


@pytest.mark.slow
def test_it_forgets_less_than_fine_tuning(make_stream: Any) -> None:
    streams = [make_stream(plugin, epochs=2) for plugin in (Finetune(), ICaRL(capacity=18))]
    for stream in streams:
        stream.run()
    finals = [stream.matrix.counts().of("class_incremental").accuracy[-1].mean() for stream in streams]
    assert finals[1] > finals[0] + 0.3


def test_what_cannot_go_with_it(make_stream: Any) -> None:
    for other, reason in (("replay", "its own exemplars"), ("lwf", "stands in place")):
        named = [(name, find_plugin(name)[1]) for name in ("icarl", other)]
        with pytest.raises(UserError, match=reason):
            check_method(named, "class_incremental")
    with pytest.raises(UserError, match="must be global"):
        make_stream(ICaRL(), loss="local").run()
