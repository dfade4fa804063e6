"""Evaluation within tasks: training never notices, interruptions leave no trace, and the curve is what it says."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clsuite.learner.learner import Learner, Step
from clsuite.learner.shared_features import Taken
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import catalog, load_class
from clsuite.stream.clock import Clock
from clsuite.stream.within_task import WithinTask
from clsuite.stream.within_task_spec import EvaluationSpec
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.ncm import NCM
from clsuite_plugins.replay import Replay


class Noisy(Plugin):
    """Draws from every global generator in training and prediction, keeps a part in eval mode, and counts its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[float] = []
        self.modes: list[bool] = []

    def loss(self, learner: Learner, step: Step) -> torch.Tensor:
        learner.backbone.model.norm.eval()
        self.modes.append(learner.backbone.model.blocks[0].training)
        self.drawn += [float(torch.rand(1)), float(np.random.rand()), random.random()]
        return 0 * step.logits.sum() + 1e-3 * self.drawn[-3]

    def predict(self, learner: Learner, batch: Any) -> torch.Tensor:
        torch.rand(3), np.random.rand(3), random.random()
        answer: torch.Tensor = learner.head(learner.encode(batch))
        return answer

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.modes.append(pl_module.backbone.model.norm.training)


def watched(stream: Any, every: int = 3, samples: int = 14) -> Any:
    stream.evaluation = EvaluationSpec(every=every, samples=samples)
    stream.__post_init__()
    return stream


def methods() -> dict[str, Any]:
    def make(name: str, **arguments: Any) -> Plugin:
        return load_class(catalog()[name])(**arguments)

    return {
        "noisy+replay": lambda: [Noisy(), Replay(10)],
        "lae": lambda: [make("lae", blocks="all", frozen_epochs=0, decay=0.9)],
        "saft": lambda: [make("saft", share=0.01)],
        "linear_probe": lambda: [make("linear_probe")],
        "momentum+der": lambda: [make("der"), make("momentum")],
        "ncm": lambda: [NCM()],
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", methods())
def test_training_never_notices(name: str, make_stream: Any) -> None:
    options = {"augment": "crop_flip"} if "noisy" in name else {}
    streams = [make_stream(*methods()[name](), **options) for _ in range(2)]
    watched(streams[1])
    for stream in streams:
        stream.run()
    plain, seen = streams
    assert plain.within_task is None
    for key, array in plain.matrix.arrays().items():
        np.testing.assert_array_equal(array, seen.matrix.arrays()[key])
    for key, value in plain.learner.state_dict().items():
        assert torch.equal(value, seen.learner.state_dict()[key]), key
    assert [task.final_loss for task in plain.tasks] == [task.final_loss for task in seen.tasks]
    for first, second in zip(plain.learner.plugins, seen.learner.plugins, strict=True):
        if isinstance(first, Noisy):
            assert (first.drawn, first.modes) == (second.drawn, second.modes)
            assert False in first.modes


@pytest.mark.slow
def test_what_the_curve_holds(make_stream: Any) -> None:
    stream = watched(make_stream(Finetune()), every=3, samples=15)
    stream.run()
    entry, counts = stream.within_task.entry(), stream.matrix.counts()
    assert entry.n == [15, 15, 15]
    assert [curve.steps for curve in entry.tasks] == [[0, 1, 2, 3, 4]] * 3
    for task, curve in enumerate(entry.tasks):
        rows, aware = np.array(curve.class_incremental), np.array(curve.task_aware)
        assert (rows[:, task + 1 :] == 0).all()
        assert (aware >= rows).all()
    first = np.array(entry.tasks[1].task_aware)[:, 0]
    assert first.min() > 0
    whole = counts.of("class_incremental").accuracy
    assert entry.of("class_incremental").accuracy(2)[-1].mean() == pytest.approx(whole[-1].mean(), abs=0.2)


@pytest.mark.slow
def test_all_images_give_the_matrix(make_stream: Any) -> None:
    stream = watched(make_stream(Finetune()), every=2, samples=10**6)
    stream.run()
    entry, counts = stream.within_task.entry(), stream.matrix.counts()
    assert entry.n == counts.n
    for task, curve in enumerate(entry.tasks):
        assert curve.class_incremental[-1] == counts.class_incremental[task + 1]
        assert curve.task_aware[-1][: task + 1] == counts.task_aware[task + 1][: task + 1]
    assert entry.tasks[0].class_incremental[0] == counts.class_incremental[0]


def test_a_method_without_steps_has_the_point_after_each_task(make_stream: Any) -> None:
    stream = watched(make_stream(NCM()), samples=10**6)
    stream.run()
    entry = stream.within_task.entry()
    assert [curve.steps for curve in entry.tasks] == [[0], [0], [0]]
    assert [curve.class_incremental[0] for curve in entry.tasks] == stream.matrix.counts().class_incremental[1:]


def test_the_subset_is_balanced_fixed_and_the_seeds_own(make_stream: Any) -> None:
    matrix, spec, clock = make_stream(Finetune()).matrix, EvaluationSpec(every=5, samples=11), Clock(Taken())
    chosen = [WithinTask(matrix, spec, seed, clock)._columns for seed in (0, 0, 1)]
    np.testing.assert_array_equal(chosen[0], chosen[1])
    assert not np.array_equal(chosen[0], chosen[2])
    for columns in chosen:
        assert len(set(columns)) == 33
        numbers = np.bincount(matrix.labels[columns])
        assert sorted(numbers) == [5, 5, 5, 6, 6, 6]


def test_evaluation_counts_as_evaluation_time(make_stream: Any) -> None:
    stream = watched(make_stream(Finetune()), every=1)
    stream.run()
    assert all(task.train_seconds > 0 for task in stream.tasks)
    assert stream.tasks[-1].eval_seconds > stream.within_task.spent.seconds > 0


class _StopError(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 2])
def test_curves_survive_an_interruption(after: int, make_stream: Any, tmp_path: Path) -> None:
    def make(checkpoint: Path | None) -> Any:
        return watched(make_stream(Finetune(), checkpoint=checkpoint, epochs=2), every=2)

    def stop(event: dict[str, Any]) -> None:
        if event["task"] == after and "epoch" in event:
            raise _StopError

    whole, first, second = make(None), make(tmp_path / "c.ckpt"), make(tmp_path / "c.ckpt")
    whole.run()
    first.report = stop
    with pytest.raises(_StopError):
        first.run()
    assert len(first.within_task.entry().tasks) == after
    second.run()
    assert second.within_task.entry() == whole.within_task.entry()
    assert [curve.steps for curve in whole.within_task.entry().tasks] == [[0, 1, 2, 4, 6, 8]] * 3


def test_when_it_is_time() -> None:
    assert [step for step in range(101) if EvaluationSpec(every=50).wants(step)] == [0, 1, 2, 4, 8, 16, 32, 50, 100]
    assert [step for step in range(5) if EvaluationSpec(every=1).wants(step)] == [0, 1, 2, 3, 4]


def test_modes_and_generators_are_restored_after_an_error_too(
    make_stream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, before = watched(make_stream(Finetune())), list[Any]()

    def fail(self: WithinTask, learner: Learner, chosen: Any) -> Any:
        before.append(torch.get_rng_state())
        learner.eval()
        torch.rand(1)
        raise ValueError("stop")

    monkeypatch.setattr(WithinTask, "_predict", fail)
    with pytest.raises(ValueError, match="stop"):
        stream.run()
    assert stream.learner.training
    assert torch.equal(torch.get_rng_state(), before[0])
