"""Methods that learn two tasks on a device that is not the CPU; run as a process of its own, which prints what it saw.

A backend of PyTorch's must be there before the first gradient of a process, and stays.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from every_hook import EveryHook
from small_methods import BEHIND, SMALL

from clsuite.conformance.fixtures import make_backbone, make_scenario
from clsuite.conformance.plugin_under_test import Subject, subject_of
from clsuite.conformance.runs import make_learner
from clsuite.conformance.simulated_device import simulated_device, waits
from clsuite.data import on_device
from clsuite.learner.learner import Learner, Step
from clsuite.plugin import Batch, Plugin
from clsuite.plugin.catalog import catalog, load_class
from clsuite.stream import trainer
from clsuite.stream.loop import Stream
from clsuite.stream.within_task_spec import EvaluationSpec

FEWER = {"gdumb": {"epochs": 2}, "lae": {"epochs": 2}}
"""Options of the training in place of the many epochs that a method brings."""
OUR_STEPS = ["crop", "flip", "resized_crop", {"color_jitter": {"hue": 0.1}}]
TORCHVISION_STEPS = ["rand_augment", "trivial_augment", "augmix"]
"""Augmentation whose operations are torchvision's: of these, rotations and shears wait for the device."""


class WaitsPerStep(L.Callback):
    """Counts what waits for the device between the ends of two steps, where nothing is read on purpose."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()
        self._before: Counter[str] | None = None

    def on_train_epoch_start(self, *_: Any) -> None:
        self._before = None

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if self._before is not None and not trainer.is_last_batch:
            self.found += waits - self._before
        self._before = Counter(waits)


class OnCpuInLoss(Plugin):
    """Makes a tensor where it should not be."""

    def loss(self, learner: Learner, step: Step) -> torch.Tensor | None:
        return (step.features * torch.ones(step.features.shape)).mean()


class OnCpuInPredict(Plugin):
    """Keeps a tensor where it should not be."""

    def on_stream_start(self, learner: Learner, scenario: Any) -> None:
        self.means = torch.zeros(len(scenario.classes), learner.backbone.width)

    def predict(self, learner: Learner, batch: Batch) -> torch.Tensor:
        return learner.encode(batch) @ self.means[: learner.seen].T


class WaitsInLoss(Plugin):
    """Reads a value in each step."""

    def loss(self, learner: Learner, step: Step) -> torch.Tensor | None:
        return None if float(step.logits.sum()) == 0.125 else step.logits.sum() * 0


def subject(name: str, **given: Any) -> Subject:
    cls = load_class(catalog()[name])
    return subject_of(partial(cls, **{**SMALL.get(name, {}), **given}), cls, name)


def make_stream(
    subjects: Sequence[Subject], kind: str = "class_incremental", *, device: torch.device | None = None, **given: Any
) -> Stream:
    """A stream of two tasks on the device."""
    training = {name: given.pop(name) for name in list(given) if name not in ("evaluation", "checkpoint_path")}
    backbone = partial(make_backbone, ("clip",)) if training.get("head") == "zero_shot" else None
    learner = make_learner(subjects, [one.make() for one in subjects], training, backbone)
    return Stream(learner, make_scenario(kind).first(2), device or simulated_device(), identity="test", **given)


def learned(stream: Stream) -> dict[str, Any]:
    """Run it; what came of it."""
    watch = WaitsPerStep()
    stream.observers = [watch]
    stream.run()
    matrix = stream.matrix.counts().of("class_incremental")
    return {
        "devices": sorted({str(value.device) for value in stream.learner.parameters()}),
        "waits": watch.found,
        "accuracy": (matrix.correct[-1].sum() / matrix.n.sum()).item(),
        "counts": matrix.correct.tolist(),
        "table_there": on_device.kept_bytes(stream.device) > 0,
    }


def method(name: str) -> dict[str, Any]:
    one, first = subject(name), [subject(other, **given) for other, given in BEHIND.get(name, {}).items()]
    kinds = one.cls.traits.scenarios
    kind = "class_incremental" if "class_incremental" in kinds else kinds[0]
    return learned(make_stream([*first, one], kind, **FEWER.get(name, {})))


def mistake(cls: type[Plugin]) -> dict[str, Any]:
    return learned(make_stream([subject_of(cls)]))


def options() -> dict[str, Any]:
    training = {"head": "cosine", "head_classes": "stream", "gradient_clip": 1.0, "recreate_optimizer": False}
    training |= {"augment": OUR_STEPS, "loss": "local", "warmup_steps": 2, "schedule": "cosine"}
    return learned(make_stream([subject("replay", capacity=10)], **training))


def every_hook() -> dict[str, Any]:
    return learned(make_stream([subject_of(EveryHook), subject("replay", capacity=10)], augment=OUR_STEPS))


def augmented() -> dict[str, Any]:
    return learned(make_stream([subject("finetune")], augment=TORCHVISION_STEPS))


def zero_shot_head() -> dict[str, Any]:
    training = {"head": "zero_shot", "tune": "both", "loss": "local"}
    return learned(make_stream([subject("finetune")], **training))


def within_tasks() -> dict[str, Any]:
    stream = make_stream([subject("replay", capacity=10)], "online", evaluation=EvaluationSpec(every=2))
    seen = learned(stream)
    assert stream.within_task is not None
    return {**seen, "points": [len(curve.steps) for curve in stream.within_task.entry().tasks]}


def resumed() -> dict[str, Any]:
    """Undisturbed, and stopped after the first task and taken up again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.ckpt"
        make_stream([subject("replay", capacity=10)], checkpoint_path=path, recreate_optimizer=False).run()
        again = make_stream([subject("replay", capacity=10)], checkpoint_path=path, recreate_optimizer=False)
        seen = learned(again)
        plain = learned(make_stream([subject("replay", capacity=10)], recreate_optimizer=False))
    return {**seen, "undisturbed": plain["counts"], "taken_up": len(again.curves.state_dict()) > 0}


def read_ahead() -> dict[str, Any]:
    """The same counts where the table does not fit."""
    kept = learned(make_stream([subject("finetune")]))
    on_device._kept.clear()
    on_device.SHARE = 0.0
    seen = learned(make_stream([subject("finetune")]))
    return {**seen, "kept": kept}


def on_cpu() -> dict[str, Any]:
    """The counts of the CPU beside those of the device."""
    here = learned(make_stream([subject("finetune")]))
    return {**here, "cpu": learned(make_stream([subject("finetune")], device=torch.device("cpu")))["counts"]}


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    **{name: partial(method, name) for name in sorted(catalog())},
    **{cls.__name__: partial(mistake, cls) for cls in (OnCpuInLoss, OnCpuInPredict, WaitsInLoss)},
    **{case.__name__: case for case in (options, every_hook, augmented, zero_shot_head)},
    **{case.__name__: case for case in (within_tasks, resumed, on_cpu, read_ahead)},
}


def main(names: Sequence[str]) -> None:
    """Print a line for each case: its name, and what was seen or the error."""
    warnings.simplefilter("ignore")
    simulated_device()
    torch.set_num_threads(1)
    trainer.REPORT_SECONDS = math.inf
    for name in names or CASES:
        try:
            seen = CASES[name]()
        except Exception as error:
            if len(names) == 1:
                raise
            seen = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps({"name": name, **seen}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
