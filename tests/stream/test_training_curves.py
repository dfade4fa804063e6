"""The loss curve of a run and what plugins log: thinned by averages, whole after an interruption, kept and plotted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import yaml

from clsuite.api.result import RunResult
from clsuite.cli.main import main
from clsuite.errors import InputWarning, UserError
from clsuite.learner.learner import Learner, Step
from clsuite.plugin import Plugin
from clsuite.records import RecordError, read_predictions, write_predictions
from clsuite.records.curves import TrainingCurve, curve_arrays, read_curves
from clsuite.runner.execute import execute
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import make_plan
from clsuite.runner.spec import load_benchmark
from clsuite.stream.curves import MOST_NAMES, TrainingCurves


class Losses(L.Callback):
    """Every loss, as training gives it."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
        self.seen.append(float(outputs["loss"]))


class Logs(Plugin):
    """Logs in a loss hook, in hooks of Lightning and after the task, in every form that Lightning takes."""

    def loss(self, learner: Learner, step: Step) -> torch.Tensor:
        learner.log("size", step.logits.detach().abs().mean(), prog_bar=True, on_step=True)
        learner.log_dict({"batch": len(step.batch), "loss": 1.0})
        return 0 * step.logits.sum()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        pl_module.log("number", batch_idx, logger=True)

    def on_task_end(self, learner: Learner, task: Any) -> None:
        learner.log("after", float(task.index))


def with_points(stream: Any, points: int) -> Any:
    stream.curve_points = points
    stream.__post_init__()
    return stream


@pytest.mark.slow
@pytest.mark.parametrize("points", [100, 4, 3, 2, 1])
def test_a_point_is_the_mean_of_the_steps_up_to_it(make_stream: Any, points: int) -> None:
    stream, losses = with_points(make_stream(epochs=2), points), Losses()
    stream.observers = (losses,)
    stream.run()
    curve, first = stream.curves.curves()["loss"], 0
    for task, entry in enumerate(stream.tasks):
        own = curve.task == task
        seen = losses.seen[first : first + entry.steps]
        ends = curve.step[own].tolist()
        assert len(ends) <= points
        assert ends[-1] == entry.steps
        means = [np.mean(seen[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
        assert curve.value[own] == pytest.approx(means, abs=1e-6)
        first += entry.steps
    assert first == len(losses.seen)


@pytest.mark.slow
def test_training_never_notices_and_nothing_is_kept_where_nothing_is_asked(make_stream: Any) -> None:
    streams = [with_points(make_stream(Logs()), points) for points in (0, 50)]
    for stream in streams:
        stream.run()
    for name, value in streams[0].learner.state_dict().items():
        assert torch.equal(value, streams[1].learner.state_dict()[name]), name
    assert streams[0].matrix.counts() == streams[1].matrix.counts()
    assert curve_arrays(streams[0].curves.curves()) == {}


def test_what_plugins_log_is_kept_by_name(make_stream: Any) -> None:
    stream = with_points(make_stream(Logs()), 100)
    stream.run()
    curves = stream.curves.curves()
    assert [*curves] == ["loss", "after", "batch", "loss (logged)", "number", "size"]
    steps = [entry.steps for entry in stream.tasks]
    assert curves["after"].value.tolist() == [0, 1, 2]
    assert curves["after"].step.tolist() == steps
    assert curves["number"].value.tolist() == [step for number in steps for step in range(number)]
    assert curves["batch"].value.max() == 8
    assert (curves["loss (logged)"].value == 1).all()
    assert len(curves["size"].value) == sum(steps)


@pytest.mark.slow
def test_an_interruption_leaves_no_trace(make_stream: Any, tmp_path: Path) -> None:
    whole = with_points(make_stream(Logs()), 3)
    whole.run()

    class Stops(L.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            if pl_module.task.index == 2:
                raise RuntimeError("killed")

    cut = with_points(make_stream(Logs(), checkpoint=tmp_path / "c.ckpt"), 3)
    cut.observers = (Stops(),)
    with pytest.raises(RuntimeError, match="killed"):
        cut.run()
    resumed = with_points(make_stream(Logs(), checkpoint=tmp_path / "c.ckpt"), 3)
    resumed.run()
    assert [*resumed.curves.curves()] == [*whole.curves.curves()]
    for name, curve in whole.curves.curves().items():
        for column in ("task", "step", "value"):
            np.testing.assert_array_equal(getattr(curve, column), getattr(resumed.curves.curves()[name], column))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(2), r"learner.log\('x', ...\) takes one number, not an array of \(2,\)"),
        (np.zeros((1, 3)), r"takes one number, not an array of \(1, 3\)"),
        ("high", "takes a number, not str"),
        (None, "takes a number, not NoneType"),
    ],
)
def test_what_is_no_number_is_an_error(value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        TrainingCurves(10).log("x", value)


def test_names_are_bounded() -> None:
    curves = TrainingCurves(10)
    curves.begin(0)
    for number in range(MOST_NAMES):
        curves.log(f"x{number}", number)
    with pytest.warns(InputWarning, match=f"more than {MOST_NAMES} names are logged: 'one more' and others"):
        curves.log("one more", 1)
    curves.finish()
    assert len(curves.curves()) == MOST_NAMES


def test_a_learner_without_a_stream_logs_nowhere(make_stream: Any) -> None:
    make_stream().learner.log("x", 1.0)


PREDICTIONS = {"labels": np.zeros(3, np.int16)}
CURVES = {"loss": TrainingCurve(np.array([0, 0, 1]), np.array([1, 2, 2]), np.array([3.0, 2.0, np.nan]))}


def test_curves_lie_beside_the_predictions_and_change_nothing_of_them(tmp_path: Path) -> None:
    path = tmp_path / "r.npz"
    write_predictions(path, {**PREDICTIONS, **curve_arrays(CURVES)})
    assert [*read_predictions(path)] == ["labels"]
    read = read_curves(path)["loss"]
    assert read.task.tolist() == [0, 0, 1]
    assert read.step.tolist() == [1, 2, 2]
    np.testing.assert_array_equal(read.value, [3, 2, np.nan])
    write_predictions(path, PREDICTIONS)
    assert read_curves(path) == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"curve_names": np.frombuffer(b"[1]", np.uint8)},
        {"curve_names": np.frombuffer(b"[", np.uint8)},
        {"curve_task": np.zeros(2, np.int32)},
        {"curve_value": np.zeros(3, np.int32)},
        {"curve_step": np.zeros((3, 1), np.int64)},
    ],
)
def test_curves_that_do_not_fit_are_one_line(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_predictions(tmp_path / "r.npz", {**PREDICTIONS, **curve_arrays(CURVES), **changes})
    with pytest.raises(RecordError, match="cannot read the curves of"):
        read_curves(tmp_path / "r.npz")
    assert [*read_predictions(tmp_path / "r.npz")] == ["labels"]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    content = {
        "name": "tiny",
        "dataset": {"name": "digits", "train_per_class": 4, "test_per_class": 4},
        "scenario": {"tasks": 5},
        "methods": {"tuned": "finetune", "means": "ncm"},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    spec, path = load_benchmark(str(tmp_path / "tiny.yaml"))
    for plan in make_plan(spec, path.parent, RunOptions(out=tmp_path / "runs", limit_tasks=2, seeds=[0])):
        assert execute(plan, lambda event: None).status == "done"
    return tmp_path / "runs"


def test_they_are_read_from_python_and_plotted(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = {path.parent.name: RunResult.read(path) for path in runs.rglob("seed0-*.json")}
    curve = results["tuned"].curves["loss"]
    assert sorted({*curve.task.tolist()}) == [0, 1]
    assert np.isfinite(curve.value).all()
    assert results["means"].curves == {}
    assert main(["plot", str(runs), "--kind", "loss", "-o", str(runs / "loss.png")]) == 0
    assert (runs / "loss.png").stat().st_size > 5000
    assert main(["plot", str(runs), "--kind", "loss", "--curve", "lss", "-o", str(runs / "x.svg")]) == 2
    assert "unknown curve 'lss'. Did you mean 'loss'?" in capsys.readouterr().err
    assert main(["plot", str(runs / "tiny" / "means"), "--kind", "loss"]) == 2
    assert "none of these runs kept a loss curve" in capsys.readouterr().err
    assert main(["plot", str(runs), "--curve", "loss"]) == 2
    assert "--curve needs --kind loss" in capsys.readouterr().err


def test_they_are_no_part_of_the_key(runs: Path) -> None:
    spec, path = load_benchmark(str(runs.parent / "tiny.yaml"))
    keys = [
        {plan.pending.key for plan in make_plan(spec, path.parent, RunOptions(out=runs, curve_points=points))}
        for points in (0, 200)
    ]
    assert keys[0] == keys[1]
