"""The accuracy on the classes met so far: by hand, and on streams learned for real."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from few_digits import few_digits

from clsuite.metrics.within_task import area_under_exposed_accuracy
from clsuite.scenarios import Scenario, ScenarioSpec, build_scenario
from clsuite.stream.exposure import Exposure
from clsuite.stream.within_task_spec import EvaluationSpec
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.ncm import NCM


def blurry(kind: str = "blurry") -> Scenario:
    shape = {"kind": kind, "tasks": 3, **({"blurry": 0.4} if kind == "blurry" else {})}
    return build_scenario(few_digits(), ScenarioSpec.model_validate(shape), 1, 8)


def watched(make_stream: Any, plugin: Any, on: Scenario, samples: int = 10**6, **options: Any) -> Any:
    stream = make_stream(plugin, on=on, **options)
    stream.evaluation = EvaluationSpec(every=2, samples=samples)
    stream.__post_init__()
    return stream


def by_hand() -> Exposure:
    """Three classes of 4, 2 and 6 test images, of which 2, 2 and 1 are asked; two classes in the first task."""
    labels = np.array([0] * 4 + [1] * 2 + [2] * 6, dtype=np.int16)
    scenario = SimpleNamespace(classes=("a", "b", "c"), seen_classes=lambda tasks: [0, 2, 3][tasks])
    rows = np.stack([labels * 0, labels, labels]).astype(np.int16)
    matrix: Any = SimpleNamespace(scenario=scenario, labels=labels, class_incremental=rows)
    return Exposure(matrix, np.array([0, 1, 4, 5, 6]))


def test_by_hand() -> None:
    exposure = by_hand()
    exposure.begin(0)
    exposure.read(0, np.full(5, -1))
    exposure.meet(np.array([1]))
    assert exposure.asked.tolist() == [False, False, True, True, False]
    assert torch.equal(exposure.mask(2), torch.tensor([-1e30, 0.0]))
    exposure.read(1, np.array([0, 0, 1, 0, 2]))  # of class 1 one of two
    exposure.meet(np.array([0, 0]))
    exposure.read(2, np.array([0, 1, 1, 0, 2]))  # of class 0 one of two, which stand for two of four
    assert exposure.finish(1, 3) == [None, 0.5, (2 + 1) / 6, 1.0]
    exposure.begin(1)
    exposure.read(0, np.array([0, 0, 0, 0, 2]))  # class 2 is not met
    exposure.meet(np.array([2]))
    exposure.read(1, np.array([0, 0, 0, 0, 2]))
    assert exposure.finish(2, 4) == [4 / 6, (4 + 6) / 12, 1.0]


@pytest.mark.parametrize("kind", ["blurry", "online"])
def test_after_each_task_it_is_the_accuracy_on_all_images_of_the_classes_seen(kind: str, make_stream: Any) -> None:
    scenario = blurry(kind)
    stream = watched(make_stream, Finetune(), scenario)
    stream.run()
    entry, matrix = stream.within_task.entry(), stream.matrix
    for task, curve in enumerate(entry.tasks):
        assert curve.exposed is not None
        assert len(curve.exposed) == len(curve.steps)
        seen = matrix.labels < scenario.seen_classes(task + 1)
        right = matrix.class_incremental[task + 1] == matrix.labels
        assert curve.exposed[-1] == pytest.approx(right[seen].mean())
    assert entry.tasks[0].exposed[0] is None
    assert 0 < area_under_exposed_accuracy(entry.of("class_incremental")) <= 1
    assert np.isnan(area_under_exposed_accuracy(entry.of("task_aware")))


def test_classes_count_from_their_first_image_on_although_their_home_comes_later(make_stream: Any) -> None:
    """The parts of a blurry stream are known when all their classes are; the exposed classes do not wait for that."""
    scenario = blurry()
    waiting = [part for part in scenario.eval_splits if part.learned > 0]
    early = [part for part in waiting if min(part.classes) < scenario.seen_classes(1)]
    assert early, "the stream has no class that is met before its home is known"
    stream = watched(make_stream, NCM(), scenario)
    stream.run()
    curve = stream.within_task.entry().tasks[0]
    known = sum(n for n, part in zip(stream.matrix.counts().n, scenario.eval_splits, strict=True) if part.learned == 0)
    met = int((stream.matrix.labels < scenario.seen_classes(1)).sum())
    assert met > known
    right = (stream.matrix.class_incremental[1] == stream.matrix.labels).sum()
    assert curve.exposed == [pytest.approx(right / met)]


def test_streams_that_pass_more_than_once_do_not_have_it(make_stream: Any) -> None:
    stream = watched(make_stream, NCM(), blurry("class_incremental"))
    stream.run()
    curve = stream.within_task.entry().tasks[0]
    assert curve.exposed is None
    assert "exposed" not in curve.model_dump()


class _StopError(Exception):
    pass


@pytest.mark.slow
def test_it_survives_an_interruption(make_stream: Any, tmp_path: Path) -> None:
    def stop(event: dict[str, Any]) -> None:
        if event["task"] == 1 and "epoch" in event:
            raise _StopError

    whole = watched(make_stream, Finetune(), blurry(), 14)
    first, second = (watched(make_stream, Finetune(), blurry(), 14, checkpoint=tmp_path / "c") for _ in range(2))
    whole.run()
    first.report = stop
    with pytest.raises(_StopError):
        first.run()
    second.run()
    assert second.within_task.entry() == whole.within_task.entry()
