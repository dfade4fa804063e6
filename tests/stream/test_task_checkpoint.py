"""A run that is interrupted within a task and taken up there ends in the same bits as one that was left alone."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from interruptions import AT_ONCE, StoppedError, Stops, bits, interrupted
from small_methods import BEHIND, NEEDS, SMALL

from clsuite.errors import InputWarning
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import catalog, load_class
from clsuite.stream.checkpoint import UnfitCheckpointError
from clsuite.stream.loop import Stream
from clsuite.stream.sealed_state import SEAL, read_state, write_state
from clsuite.stream.task_checkpoint import task_path
from clsuite.stream.within_task_spec import EvaluationSpec
from clsuite_plugins.finetune import Finetune

METHODS = ("finetune", "replay", "der", "lae", "ewc", "pet", "rwalk")
"""Those that bring state of each kind; `pet` is LoRA there."""
QUICK = ("der", "lae")
"""Those of the default tests: a buffer with logits, and weights that follow others."""
UNTRAINED = ("zero_shot",)
"""Those that need a text tower, and never train."""
ARGUMENTS = {**SMALL, "pet": {"kind": "lora"}, "replay": {"capacity": 12}}


def plugins(name: str) -> list[Plugin]:
    first = [load_class(catalog()[other])(**arguments) for other, arguments in BEHIND.get(name, {}).items()]
    return [*first, load_class(catalog()[name])(**ARGUMENTS.get(name, {}))]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.nightly) for name in METHODS]
)
def test_it_ends_bit_identical(name: str, make_stream: Any, tmp_path: Path) -> None:
    """Interrupted in the second epoch of the second task, with augmentation, momentum's state and a schedule."""
    training = {"epochs": 2, "augment": "crop_flip", "schedule": "cosine"}
    alone = make_stream(*plugins(name), **training)
    alone.run()
    whole = alone.tasks[1].steps
    again = interrupted(make_stream, tmp_path / "x.ckpt", 1, whole - 1, lambda: plugins(name), **training)
    (watch,) = again.observers
    assert isinstance(watch, Stops)
    assert watch.steps[1] == 1
    for mine, his in zip(bits(again), bits(alone), strict=True):
        assert mine == his


@pytest.mark.nightly
@pytest.mark.parametrize("name", sorted(set(catalog()) - {*METHODS, *UNTRAINED}))
def test_every_other_method_ends_bit_identical_too(name: str, make_stream: Any, tmp_path: Path) -> None:
    """What cannot be saved within a task says so, and begins the task again: the result is the same."""
    training = {"epochs": 2, **NEEDS.get(name, {})}
    alone = make_stream(*plugins(name), **training)
    alone.run()
    if not alone.tasks[1].steps:
        return
    first = make_stream(*plugins(name), checkpoint=tmp_path / "x.ckpt", **training)
    first.checkpoint_minutes, first.observers = AT_ONCE, [Stops(1, alone.tasks[1].steps - 1)]
    with pytest.raises(StoppedError):
        first.run()
    again = make_stream(*plugins(name), checkpoint=tmp_path / "x.ckpt", **training)
    again.checkpoint_minutes, again.observers = AT_ONCE, [Stops()]
    again.run()
    for mine, his in zip(bits(again), bits(alone), strict=True):
        assert mine == his


@pytest.mark.slow
def test_evaluation_within_the_task_goes_on_too(make_stream: Any, tmp_path: Path) -> None:
    def evaluated(*given: Any, **more: Any) -> Stream:
        stream: Stream = make_stream(*given, **more)
        stream.evaluation = EvaluationSpec(every=2)
        stream.__post_init__()
        return stream

    alone = evaluated(*plugins("finetune"), epochs=2)
    alone.run()
    again = interrupted(evaluated, tmp_path / "x.ckpt", 0, 5, lambda: plugins("finetune"), epochs=2)
    assert bits(again) == bits(alone)


class Takes(Plugin):
    """Takes another function in the middle of a task."""

    def __init__(self) -> None:
        super().__init__()
        self.function = len

    def on_train_batch_end(self, *_: Any) -> None:
        self.function = max  # type: ignore[assignment]


@pytest.mark.slow
def test_what_cannot_be_saved_is_told_once_and_the_run_goes_on(make_stream: Any, tmp_path: Path) -> None:
    stream = make_stream(Takes(), checkpoint=tmp_path / "x.ckpt", epochs=2)
    stream.checkpoint_minutes = AT_ONCE
    with pytest.warns(InputWarning, match=r"cannot be saved within a task: plugin 0\.function is another") as told:
        stream.run()
    assert len([one for one in told if "cannot be saved" in str(one.message)]) == 1
    assert len(stream.tasks) == 3


def test_nothing_is_saved_unless_it_is_asked_for(make_stream: Any, tmp_path: Path) -> None:
    stream = make_stream(Finetune(), checkpoint=tmp_path / "x.ckpt")
    stream.observers = [Stops(0, 2)]
    with pytest.raises(StoppedError):
        stream.run()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("what", ["another run", "another plugin", "damaged"])
def test_a_state_of_something_else_is_not_taken(make_stream: Any, tmp_path: Path, what: str) -> None:
    path = tmp_path / "x.ckpt"
    first = make_stream(Finetune(), checkpoint=path)
    first.checkpoint_minutes, first.observers = AT_ONCE, [Stops(0, 2)]
    with pytest.raises(StoppedError):
        first.run()
    state = read_state(task_path(path))
    if what == "another run":
        state["identity"] = "another task 0"
    if what == "another plugin":
        state["objects"]["plugin 0"] = ["object", [["gone", ["object", []]]]]
    write_state({key: value for key, value in state.items() if key != SEAL}, task_path(path))
    if what == "damaged":
        task_path(path).write_bytes(task_path(path).read_bytes()[:-100])
    again = make_stream(Finetune(), checkpoint=path)
    again.observers = [Stops()]
    if what == "another plugin":
        with pytest.raises(UnfitCheckpointError) as told:
            again.run()
        assert told.value.path == task_path(path)
        return
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        again.run()
    assert any("is damaged" in str(one.message) for one in heard) == (what == "damaged")
    assert again.observers[0].steps[0] == again.tasks[0].steps
