"""What a trained method answers: the same however samples are put together, with its columns in their places."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsuite.conformance.finding import Finding
from clsuite.conformance.plugin_under_test import Subject
from clsuite.conformance.runs import Run
from clsuite.conformance.source_lines import calls, either
from clsuite.data.batch import Batch
from clsuite.learner.learner import Learner
from clsuite.learner.step import Step
from clsuite.scenarios import Scenario

SINGLES = 16
CHUNK = 64


@torch.inference_mode()
def answers(learner: Learner, images: NDArray[np.uint8]) -> Tensor:
    """Logits ``[N, seen classes]`` of stored images, on the CPU; nothing but the images is known."""
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
    """Rows of all test parts, in order."""
    return np.concatenate([part.test for part in scenario.eval_splits])


def batch_independent(subject: Subject, run: Run, whole: NDArray[np.int64]) -> Iterator[Finding]:
    """Neither the order nor the other samples of a batch change an answer, nor do unknown labels and rows."""
    images = run.stream.scenario.table.images[test_rows(run.stream.scenario)]
    order = np.random.RandomState(0).permutation(len(images))
    shuffled = answers(run.stream.learner, images[order]).argmax(dim=1).numpy()
    few = order[:SINGLES]
    single = np.array([int(answers(run.stream.learner, images[[one]]).argmax()) for one in few])
    changed = int((shuffled != whole[order]).sum() + (single != whole[few]).sum())
    if changed:
        yield subject.finding(
            "prediction",
            f"{changed} answers change with the order or the company of the sample in its batch",
            "answer for each sample on its own: no statistics over the batch, no routing of whole batches",
            subject.lines.find(
                "predict", either(calls("mean", "std", "var", "mode", "argmin", "BatchNorm1d"), _over_batch)
            ),
        )
    seen = run.stream.matrix.class_incremental[-1]
    share = float((seen != whole).mean())
    if share > 0.02 and not changed:
        yield subject.finding(
            "prediction",
            f"{100 * share:.0f} % of the answers change where the labels and rows of the test batch are not known",
            "use nothing of the batch but its images (learner.encode(batch) reads them)",
            subject.lines.find("predict", _reads_labels),
        )


def _over_batch(node: Any) -> bool:
    import ast

    words = node.keywords if isinstance(node, ast.Call) else []
    return any(word.arg == "dim" and isinstance(word.value, ast.Constant) and word.value.value == 0 for word in words)


def _reads_labels(node: Any) -> bool:
    import ast

    return isinstance(node, ast.Attribute) and node.attr in {"labels", "rows"} and ast.unparse(node.value) == "batch"


def columns_in_place(subject: Subject, run: Run) -> Iterator[Finding]:
    """After each task the answers to its images are its classes, and not consistently others.

    A head that has hardly been trained may do that in one task, or among the task's own classes, by chance.
    """
    matrix, renamed_before = run.stream.matrix, False
    for task in run.stream.scenario.tasks:
        own = matrix.task == task.index
        truth, answer = matrix.labels[own], matrix.class_incremental[task.index + 1, own]
        right = float((truth == answer).mean())
        usual = {label: np.bincount(answer[truth == label] + 1).argmax() - 1 for label in task.classes}
        renamed = float((np.array([usual[label] for label in truth]) == answer).mean())
        distinct = len(set(usual.values())) == len(usual) and bool({*usual.values()} - {*task.classes})
        if right >= 0.3 or renamed <= 0.7 or not distinct:
            continue
        if renamed_before:
            moves = ", ".join(f"{label} as {usual[label]}" for label in task.classes)
            hook = "predict" if "predict" in subject.declared.hooks else "loss"
            yield subject.finding(
                "head",
                f"after task {task.index} the answers are consistently other classes (stream label {moves}): "
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
    """With model and batch on a device without memory, tensors that stayed on the CPU are reported by PyTorch itself.

    The learner is of no use afterwards.
    """
    learner, plugin = run.stream.learner, run.plugins[place]
    vars(plugin).update({name: _moved(value) for name, value in vars(plugin).items()})
    task = run.stream.scenario.tasks[-1]
    rows = task.train[:4]
    meta = torch.device("meta")
    learner.to(meta)
    images = torch.zeros(4, *run.stream.scenario.table.images.shape[1:], dtype=torch.uint8)
    labels, unknown = torch.from_numpy(run.stream.scenario.labels[rows]), torch.zeros(4, dtype=torch.bool)
    batch = dataclasses.replace(Batch(images, labels, torch.from_numpy(rows), unknown).to(meta), known=None)
    pixels = torch.zeros(4, 3, *images.shape[2:], device=meta)
    ready = dataclasses.replace(batch, images=pixels)
    features = torch.zeros(4, learner.backbone.width, device=meta, requires_grad=True)
    logits = torch.zeros(4, learner.head.classes, device=meta, requires_grad=True)
    given: dict[str, Any] = {"transform_batch": batch, "loss": Step(ready, features, logits), "predict": ready}
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
                    "make it on the device of what it meets: device=batch.labels.device, or .to(device)",
                    line,
                )
        except Exception:  # a device without memory cannot do everything
            continue


def _moved(value: Any) -> Any:
    """What a plugin keeps, its tensors on the device without memory."""
    if isinstance(value, Tensor) and not isinstance(value, torch.nn.Parameter):
        return value.to("meta")
    if isinstance(value, dict):
        return {key: _moved(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(map(_moved, value))
    return value
