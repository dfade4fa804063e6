"""Checks of predictions: they must not depend on the composition of batches, and columns must be in order."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsuite.conformance.finding import Finding
from clsuite.conformance.plugin_under_test import Subject
from clsuite.conformance.runs import Run
from clsuite.conformance.source_lines import calls, either, root
from clsuite.data.batch import Batch
from clsuite.learner.learner import Learner
from clsuite.learner.step import Step
from clsuite.scenarios import Scenario

SINGLES = 16
CHUNK = 64
META = torch.device("meta")
DEVICES = {
    "transform_images": "the images: device=images.device",
    "transform_update": "the update: device=update.device",
    "before_task_training": "the learner: device=learner.device",
}
"""Where the device is, in hooks without a batch."""


@torch.inference_mode()
def predict(learner: Learner, images: NDArray[np.uint8]) -> Tensor:
    """Predict logits ``[N, seen classes]`` of stored images, on the CPU; the batches have no labels and indices."""
    learner.eval()
    chunks = []
    for start in range(0, len(images), CHUNK):
        pixels = torch.from_numpy(np.ascontiguousarray(images[start : start + CHUNK]))
        unknown = torch.full((len(pixels),), -1)
        batch = Batch(pixels, unknown, unknown, unknown > 0).to(learner.device)
        assert batch.images is not None
        chunks.append(learner.predict_logits(batch.with_images(learner.backbone.normalize(batch.images))))
    return torch.cat(chunks).cpu()


def test_rows(scenario: Scenario) -> NDArray[np.int64]:
    """Indices of all test parts, in order."""
    return np.concatenate([part.test for part in scenario.eval_splits])


def batch_independent(subject: Subject, run: Run, whole: NDArray[np.int64]) -> Iterator[Finding]:
    """Check that predictions depend neither on the other samples of a batch nor on labels and indices."""
    images = run.stream.scenario.table.images[test_rows(run.stream.scenario)]
    order = np.random.RandomState(0).permutation(len(images))
    shuffled = predict(run.stream.learner, images[order]).argmax(dim=1).numpy()
    few = order[:SINGLES]
    single = np.array([int(predict(run.stream.learner, images[[one]]).argmax()) for one in few])
    changed = int((shuffled != whole[order]).sum() + (single != whole[few]).sum())
    if changed:
        yield subject.finding(
            "prediction",
            f"{changed} predictions change with the order or the other samples of the batch",
            "predict for each sample on its own: no statistics over the batch, no routing of whole batches",
            subject.lines.find(
                "predict", either(calls("mean", "std", "var", "mode", "argmin", "BatchNorm1d"), _over_batch)
            ),
        )
    seen = run.stream.matrix.class_incremental[-1]
    share = float((seen != whole).mean())
    if share > 0.02 and not changed:
        yield subject.finding(
            "prediction",
            f"{100 * share:.0f} % of the predictions change without the labels and indices of the test batch",
            "use only the images of the batch (learner.encode(batch) reads them)",
            subject.lines.find("predict", _reads_labels),
        )


def _over_batch(node: Any) -> bool:
    import ast

    words = node.keywords if isinstance(node, ast.Call) else []
    return any(word.arg == "dim" and isinstance(word.value, ast.Constant) and word.value.value == 0 for word in words)


def _reads_labels(node: Any) -> bool:
    import ast

    return isinstance(node, ast.Attribute) and node.attr in {"labels", "indices"} and root(node) == "batch"


def columns_in_place(subject: Subject, run: Run) -> Iterator[Finding]:
    """Check that predictions after a task are its classes, and not consistently others.

    A hardly trained head may predict others by chance in one task, or among the task's own classes.
    """
    matrix, renamed_before = run.stream.matrix, False
    for task in run.stream.scenario.tasks:
        own = matrix.task == task.index
        truth, answer = matrix.labels[own], matrix.class_incremental[task.index + 1, own]
        accuracy = float((truth == answer).mean())
        usual = {label: np.bincount(answer[truth == label] + 1).argmax() - 1 for label in task.classes}
        renamed = float((np.array([usual[label] for label in truth]) == answer).mean())
        distinct = len(set(usual.values())) == len(usual) and bool({*usual.values()} - {*task.classes})
        if accuracy >= 0.3 or renamed <= 0.7 or not distinct:
            continue
        if renamed_before:
            moves = ", ".join(f"{label} as {usual[label]}" for label in task.classes)
            hook = "predict" if "predict" in subject.declared.hooks else "loss"
            yield subject.finding(
                "head",
                f"after task {task.index} the predictions are consistently other classes (stream label {moves}): "
                "the columns of the head are mixed up",
                "column c of the logits is stream label c: old classes first, new ones after them",
                subject.lines.find(hook, calls("cat", "stack", "roll", "flip"), _names_head),
            )
            return
        renamed_before = True


def _names_head(node: Any) -> bool:
    import ast

    return isinstance(node, ast.Attribute) and node.attr in {"logits", "groups", "head", "labels"}


def on_another_device(subject: Subject, run: Run, place: int) -> Iterator[Finding]:
    """Run hooks with model and batch on the meta device, on which PyTorch reports tensors that are still on the CPU.

    The learner cannot be used afterwards.
    """
    learner, plugin = run.stream.learner, run.plugins[place]
    vars(plugin).update({name: _moved(value) for name, value in vars(plugin).items()})
    learner.to(META)
    learner.forget_features()
    given = _arguments(learner, run.stream.scenario)
    for hook, value in given.items():
        if hook not in subject.declared.hooks:
            continue
        try:
            getattr(type(plugin), hook)(plugin, learner, value)
        except RuntimeError as error:
            line = subject.line_of(error) if subject.is_innermost(error) else 0
            if line and ("expected device" in str(error) or "same device" in str(error)):
                yield subject.finding(
                    "device",
                    f"'{hook}' mixes a tensor of its own on the CPU with the model's on another device",
                    f"create it on the device of {DEVICES.get(hook, 'the batch: device=batch.labels.device')}, or "
                    ".to(device)",
                    line,
                )
        except Exception:  # the meta device does not support all operations
            continue


def _arguments(learner: Learner, scenario: Scenario) -> dict[str, Any]:
    """An argument on the meta device for each hook that gets tensors or trains."""
    task = scenario.tasks[-1]
    rows = task.train[:4]
    images = torch.zeros(4, *scenario.table.images.shape[1:], dtype=torch.uint8)
    labels, unknown = torch.from_numpy(scenario.labels[rows]), torch.zeros(4, dtype=torch.bool)
    batch = dataclasses.replace(Batch(images, labels, torch.from_numpy(rows), unknown).to(META), known=None)
    pixels = torch.zeros(4, 3, *images.shape[2:], device=META)
    ready = dataclasses.replace(batch, images=pixels)
    features = torch.zeros(4, learner.backbone.width, device=META, requires_grad=True)
    logits = torch.zeros(4, learner.head.classes, device=META, requires_grad=True)
    step, named = Step(ready, features, logits), learner.named_parameters()
    updates = {name: torch.zeros_like(value) for name, value in named if value.requires_grad}
    return {
        "transform_batch": batch, "loss": step, "predict": ready, "classification": step, "on_before_forward": ready,
        "transform_images": pixels, "transform_update": MappingProxyType(updates), "before_task_training": task,
    }  # fmt: skip


def _moved(value: Any) -> Any:
    """A value of a plugin with its tensors on the meta device."""
    if isinstance(value, Tensor) and not isinstance(value, torch.nn.Parameter):
        return value.to(META)
    if isinstance(value, dict):
        return {key: _moved(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(map(_moved, value))
    return value
