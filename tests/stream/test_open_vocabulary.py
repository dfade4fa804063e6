"""Methods that predict classes by their names are evaluated on all of them, learned or not; others are as before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clsuite.backbones.class_texts import ClassTexts
from clsuite.backbones.clip import build_clip
from clsuite.backbones.spec import BackboneSpec, Weights
from clsuite.board.validate.streams import Made
from clsuite.data.datasets import load_table
from clsuite.data.spec import DatasetSpec
from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.options import OptimizerSpec, TrainingSpec
from clsuite.metrics.variants import mtil_average, mtil_last, mtil_transfer
from clsuite.plugin import Batch, Plugin, Task, Traits
from clsuite.plugin import Learner as AnyLearner
from clsuite.probes.base import ProbeContext
from clsuite.probes.spec import ZeroShotProbe
from clsuite.probes.zero_shot import ZeroShotAccuracy
from clsuite.records import read_predictions, rescore, write_predictions
from clsuite.scenarios import Scenario, ScenarioSpec, build_scenario
from clsuite.stream.loop import Stream
from clsuite.stream.within_task_spec import EvaluationSpec
from clsuite.trackers.recorder import accuracies
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.zero_shot import ZeroShot

SETS = {"metals": ("gold", "iron"), "fruit": ("apple", "kiwi", "pear"), "tools": ("axe", "saw")}
SPEC = BackboneSpec(name="open_clip:clip_nano")
Make = Callable[..., Stream]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sets of noise images: 4 for training and 3 for tests of each class."""
    random, root = np.random.RandomState(0), tmp_path_factory.mktemp("sets")
    for name, classes in SETS.items():
        for label in classes:
            for part, number in (("train", 4), ("test", 3)):
                folder = root / name / part / label
                folder.mkdir(parents=True)
                for index in range(number):
                    pixels = random.randint(0, 256, (32, 32, 3)).astype(np.uint8)
                    Image.fromarray(pixels).save(folder / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def sets(folders: Path) -> Scenario:
    parts = tuple(DatasetSpec(name="image_folder", path=str(folders / name)) for name in SETS)
    table = load_table(DatasetSpec(name="sequence", parts=parts), 32)
    return build_scenario(table, ScenarioSpec.model_validate({"kind": "cross_domain"}), seed=0)


@pytest.fixture
def make(sets: Scenario) -> Make:
    def stream(*plugins: Plugin, on: Scenario = sets, checkpoint: Path | None = None, **training: Any) -> Stream:
        torch.manual_seed(0)
        given = {"optimizer": OptimizerSpec(lr=1e-3), "batch_size": 8, "precision": "32", **training}
        learner = Learner(build_clip(SPEC, Weights("random")), TrainingSpec(**given), plugins, seed=0)
        return Stream(learner, on, torch.device("cpu"), checkpoint_path=checkpoint, identity="test")

    return stream


def above(stream: Stream) -> np.ndarray[Any, Any]:
    """Which predictions are of samples whose classes are not seen yet, ``[T + 1, N]``."""
    seen = [stream.scenario.seen_classes(max(row, 1)) for row in range(len(stream.scenario.tasks) + 1)]
    return stream.matrix.labels >= np.array(seen)[:, None]


def test_a_frozen_clip_has_equal_rows(make: Make) -> None:
    stream = make(ZeroShot())
    stream.run()
    matrix, counts = stream.matrix, stream.matrix.counts()
    assert matrix.open_vocabulary is not None
    for answers in (matrix.task_aware, matrix.open_vocabulary):
        assert (answers == answers[0]).all()
        assert (answers >= 0).all()
    assert (matrix.class_incremental[above(stream)] == -1).all()
    assert (matrix.class_incremental[~above(stream)] >= 0).all()
    np.testing.assert_array_equal(matrix.class_incremental[-1], matrix.open_vocabulary[-1])
    for protocol in ("task_aware", "open_vocabulary"):
        measured = counts.of(protocol)
        columns = measured.initial
        assert mtil_average(measured) == pytest.approx(mtil_last(measured)) == pytest.approx(columns.mean())
        assert mtil_transfer(measured) == pytest.approx(columns[1:].mean())
    assert mtil_transfer(counts.of("class_incremental")) == 0
    logged = accuracies(matrix, 0)
    assert logged["open_vocabulary/average"] == pytest.approx(counts.of("open_vocabulary").initial.mean())
    assert "task_aware/average" not in logged
    assert Made.of(stream.scenario).prediction_problem(matrix.arrays()) == ""


def test_answers_are_those_of_the_names_that_compete(make: Make, sets: Scenario) -> None:
    stream = make(ZeroShot())
    stream.run()
    matrix, learner = stream.matrix, stream.learner
    with torch.no_grad():
        logits = ClassTexts(learner.backbone, sets.classes).logits(learner.features_of(matrix.rows), 7)
    assert matrix.open_vocabulary is not None
    np.testing.assert_array_equal(matrix.open_vocabulary[0], logits.argmax(dim=1).numpy())
    for part in sets.eval_splits:
        own = matrix.task == part.index
        best = logits[own][:, list(part.classes)].argmax(dim=1).numpy()
        np.testing.assert_array_equal(matrix.task_aware[0][own], np.array(part.classes)[best])


@pytest.mark.parametrize("tune", ["image", "both"])
def test_finetuning_with_a_zero_shot_head_fills_the_rows_before_learning(make: Make, tune: str) -> None:
    stream, frozen = make(Finetune(), head="zero_shot", tune=tune, epochs=2), make(ZeroShot())
    stream.run(), frozen.run()
    matrix = stream.matrix
    assert matrix.open_vocabulary is not None
    np.testing.assert_array_equal(matrix.open_vocabulary[0], frozen.matrix.open_vocabulary[0])
    np.testing.assert_array_equal(matrix.task_aware[0], frozen.matrix.task_aware[0])
    assert (matrix.open_vocabulary >= 0).all()
    assert (matrix.task_aware >= 0).all()
    assert (matrix.open_vocabulary[1:] != matrix.open_vocabulary[0]).any()
    assert (matrix.class_incremental[above(stream)] == -1).all()


def test_a_head_that_grows_stays_as_it_is(make: Make) -> None:
    stream = make(Finetune())
    asked: list[int] = []
    begin = stream.matrix.begin
    stream.matrix.begin = lambda row: asked.append(len(rows := begin(row))) or rows  # type: ignore[method-assign, func-returns-value]
    stream.run()
    assert asked == [6, 6, 15, 21]
    for answers in (stream.matrix.class_incremental, stream.matrix.task_aware):
        assert (answers[above(stream)] == -1).all()
    assert "open_vocabulary" not in stream.matrix.arrays()
    assert "open_vocabulary" not in stream.matrix.counts().model_dump()


def test_the_counts_follow_from_the_file_of_predictions(make: Make, tmp_path: Path) -> None:
    stream = make(ZeroShot())
    stream.run()
    write_predictions(tmp_path / "p.npz", stream.matrix.arrays())
    counts = rescore(read_predictions(tmp_path / "p.npz"))
    assert counts == stream.matrix.counts()
    assert counts.protocols == ("class_incremental", "task_aware", "open_vocabulary")


def test_a_resumed_run_has_the_same_rows(make: Make, tmp_path: Path) -> None:
    options: dict[str, Any] = {"head": "zero_shot", "tune": "both"}
    whole, cut = make(Finetune(), **options), make(Finetune(), checkpoint=tmp_path / "c", **options)
    whole.run()
    learn = cut._learn

    def stop(task: Task) -> None:
        if task.index == 2:
            raise KeyboardInterrupt
        learn(task)

    cut._learn = stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    again = make(Finetune(), checkpoint=tmp_path / "c", **options)
    again.run()
    assert again.matrix.counts() == whole.matrix.counts()
    np.testing.assert_array_equal(again.matrix.open_vocabulary, whole.matrix.open_vocabulary)  # type: ignore[arg-type]


class Learns(Plugin):
    """A trained method that predicts by names: it must not be started for the row before training."""

    traits = Traits(open_vocabulary=True, requires=("clip",))

    def __init__(self, columns: int | None = None) -> None:
        super().__init__()
        self.columns, self.started = columns, 0

    def on_stream_start(self, learner: AnyLearner, scenario: Scenario) -> None:
        self.started += 1
        self.texts = ClassTexts(learner.backbone, scenario.classes)  # type: ignore[arg-type]

    def predict(self, learner: AnyLearner, batch: Batch) -> torch.Tensor:
        return self.texts.logits(learner.encode(batch), self.columns or learner.scenario.stream_classes)


def test_the_row_before_training_needs_no_trained_plugin(make: Make) -> None:
    learns, frozen = Learns(), make(ZeroShot())
    stream = make(learns)
    stream.run(), frozen.run()
    assert learns.started == 1
    assert stream.matrix.open_vocabulary is not None
    np.testing.assert_array_equal(stream.matrix.open_vocabulary[0], frozen.matrix.open_vocabulary[0])
    assert (stream.matrix.open_vocabulary >= 0).all()


def test_too_few_columns_are_refused(make: Make) -> None:
    with pytest.raises(UserError, match=r"Learns predicts 2 classes, but with traits\.open_vocabulary .* all 7"):
        make(Learns(columns=2)).run()


def test_plugin_and_probe_agree_under_autocast(make: Make, folders: Path) -> None:
    """Under bf16 both have the same features and full-precision cosines, so the same answers among all classes."""
    data = DatasetSpec(name="image_folder", path=str(folders / "fruit"))
    table = load_table(data, 32)
    stream = make(ZeroShot(), on=build_scenario(table, ScenarioSpec(tasks=3), seed=0), precision="bf16")
    with torch.no_grad():
        stream.learner.backbone.clip.logit_scale.fill_(4.6)
    stream.run()
    context = ProbeContext(SPEC, Weights("random"), None)
    reading = ZeroShotAccuracy(ZeroShotProbe(dataset=data), context)(stream.learner)["zero_shot"]
    matrix = stream.matrix
    assert matrix.open_vocabulary is not None
    assert [int((row == matrix.labels).sum()) for row in matrix.open_vocabulary] == [reading.correct] * 4
    assert reading.n == len(matrix.labels)


@pytest.mark.parametrize(
    "kind",
    [
        {"kind": "class_incremental", "tasks": 5},
        {"kind": "blurry", "tasks": 3},
        {"kind": "recurring", "tasks": 5, "length": 6},
    ],
    ids=lambda kind: kind["kind"],
)
def test_every_kind_of_stream_has_all_names(make: Make, kind: dict[str, Any]) -> None:
    """In streams of classes the task-aware rows are filled too: classes of a part that are not seen yet compete."""
    table = load_table(DatasetSpec(name="digits", train_per_class=6, test_per_class=2), 32)
    stream = make(ZeroShot(), on=build_scenario(table, ScenarioSpec.model_validate(kind), seed=0))
    stream.run()
    matrix = stream.matrix
    assert matrix.open_vocabulary is not None
    assert (matrix.open_vocabulary == matrix.open_vocabulary[0]).all()
    assert (matrix.task_aware == matrix.task_aware[0]).all()
    np.testing.assert_array_equal(matrix.class_incremental[-1], matrix.open_vocabulary[-1])
    assert Made.of(stream.scenario).prediction_problem(matrix.arrays()) == ""


def test_curves_within_tasks_end_in_the_matrix(make: Make) -> None:
    stream = make(Finetune(), head="zero_shot", tune="both")
    measured = Stream(
        stream.learner, stream.scenario, torch.device("cpu"), evaluation=EvaluationSpec(every=1, samples=100)
    )
    measured.run()
    assert measured.within_task is not None
    counts = measured.matrix.counts()
    for task, curve in enumerate(measured.within_task.entry().tasks):
        learned = [part.learned <= task for part in stream.scenario.eval_splits]
        for protocol in ("class_incremental", "task_aware"):
            row = getattr(counts, protocol)[task + 1]
            wanted = [right if known else 0 for right, known in zip(row, learned, strict=True)]
            assert getattr(curve, protocol)[-1] == wanted
