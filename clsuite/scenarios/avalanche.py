"""Conversion from and to Avalanche. Avalanche and torch are imported when a function is called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clsuite.data.image_convert import square_pixels
from clsuite.data.quality_warnings import tell_of_table
from clsuite.data.table import ImageTable, digest
from clsuite.errors import UserError
from clsuite.scenarios.assemble import Parts, assemble, evaluation_parts
from clsuite.scenarios.scenario import Rows, Scenario

IDS = "sample_ids"
"""Data attribute that stores clsuite's sample ids in an Avalanche data set."""


def to_avalanche(scenario: Scenario, transform: Callable[[Any], Any] | None = None) -> Any:
    """Convert a scenario to an Avalanche benchmark with the same images in the same tasks.

    It has the streams ``train``, ``test`` (one experience for each evaluation part) and, if needed, ``valid``. Labels
    are stream labels. In a task-incremental stream each task has its own task label; otherwise all task labels are 0.

    Args:
        scenario: The scenario.
        transform: Applied to float tensors ``[C, H, W]`` in [0, 1]; by default they are unchanged.

    Returns:
        An Avalanche ``CLScenario`` with class timeline and task labels.
    """
    from avalanche.benchmarks import benchmark_from_datasets, with_classes_timeline, with_task_labels

    known = scenario.kind == "task_incremental"

    def stream(parts: Iterable[Rows]) -> list[Any]:
        return [_to_dataset(scenario, rows, i if known else 0, transform) for i, rows in enumerate(parts)]

    streams = {
        "train": stream(task.train for task in scenario.tasks),
        "test": stream(part.test for part in scenario.eval_splits),
    }
    if all(len(task.validation) for task in scenario.tasks):
        streams["valid"] = stream(task.validation for task in scenario.tasks)
    return with_task_labels(with_classes_timeline(benchmark_from_datasets(**streams)))


def _to_dataset(scenario: Scenario, rows: Rows, task: int, transform: Callable[[Any], Any] | None) -> Any:
    from avalanche.benchmarks.utils import DataAttribute, TaskLabels
    from avalanche.benchmarks.utils.classification_dataset import TaskAwareSupervisedClassificationDataset

    from clsuite.data.rows_dataset import RowsDataset

    samples = RowsDataset(scenario.table.images, scenario.labels, rows, transform)
    ids = [scenario.table.digests[row].tobytes().hex() for row in rows]
    attributes = [
        DataAttribute(samples.targets, "targets"),
        TaskLabels([task] * len(rows)),
        DataAttribute(ids, IDS),
    ]
    return TaskAwareSupervisedClassificationDataset([samples], data_attributes=attributes)


@dataclass
class _Samples:
    """The different samples of a benchmark, in the order of their first appearance."""

    size: int
    images: list[NDArray[np.uint8]] = field(default_factory=list)
    names: list[Any] = field(default_factory=list)
    tests: list[bool] = field(default_factory=list)
    digests: list[NDArray[np.uint8]] = field(default_factory=list)
    known: dict[tuple[bytes, Any, bool], int] = field(default_factory=dict)

    def rows(self, dataset: Any, name: Callable[[int], Any], is_test: bool, where: str) -> Rows:
        """Rows of a data set's samples; a repeated sample keeps its row."""
        plain, ids = dataset.eval(), getattr(dataset, IDS, None)
        found = np.empty(len(plain), dtype=np.int64)
        for index in range(len(plain)):
            sample = plain[index]
            pixels = square_pixels(sample[0], self.size, f"sample {index} of {where}")
            content = bytes.fromhex(ids[index]) if ids is not None else None
            identity = digest(pixels.tobytes()) if content is None else np.frombuffer(content, dtype=np.uint8)
            key = (identity.tobytes(), name(int(sample[1])), is_test)
            if key not in self.known:
                self.known[key] = len(self.names)
                self.images.append(pixels)
                self.names.append(key[1])
                self.tests.append(is_test)
                self.digests.append(identity)
            found[index] = self.known[key]
        return found


def from_avalanche(benchmark: Any, image_size: int, classes: Sequence[str] | None = None) -> Scenario:
    """Convert an Avalanche 0.6 benchmark to a scenario with the same images in the same tasks.

    Images are read under the ``eval`` transforms of their data sets: PIL images, uint8 arrays or tensors, or floats in
    [0, 1]. If each experience of the ``test`` stream has the classes of the ``train`` experience of the same number,
    the evaluation parts are the tasks; otherwise they are the test experiences, each learned when all its classes have
    been seen. Equal images of a class are one sample. All images are kept in memory.

    Task labels are supported in two cases. If all are equal, the task is unknown at test time. If experience ``i`` of
    both streams has a label that no other experience has, the stream is task-incremental, and a class is a pair of task
    and label (``0/3``), as in Avalanche's multi-head models.

    Args:
        benchmark: A ``CLScenario`` with the streams ``train`` and ``test``, and optionally ``valid``.
        image_size: Side of the images in pixels.
        classes: Names of Avalanche's classes, by their numbers; the numbers themselves by default.

    Raises:
        UserError: If a stream is missing, the task labels are not supported (they are named), or an image is invalid.
    """
    streams = {name: list(stream) for name, stream in benchmark.streams.items()}
    for needed in ("train", "test"):
        if not streams.get(needed):
            raise UserError(f"the Avalanche benchmark has no '{needed}' stream; it has {', '.join(streams) or 'none'}")
    tasks = map_task_labels(streams)
    samples, rows = _Samples(image_size), {}
    for name in ("train", "valid", "test"):
        rows[name] = [
            samples.rows(exp.dataset, _namer(tasks, index), name == "test", f"{name} experience {index}")
            for index, exp in enumerate(streams.get(name, []))
        ]
    table, order = _table(samples, classes, rows["train"])
    tell_of_table("the Avalanche benchmark", table)
    if len(rows["valid"]) != len(rows["train"]):
        rows["valid"] = [rows["train"][0][:0]] * len(rows["train"])
    return _scenario("task_incremental" if tasks else "avalanche", table, order, rows)


def _namer(tasks: list[int] | None, index: int) -> Callable[[int], Any]:
    return (lambda label: (tasks[index], label)) if tasks else (lambda label: (-1, label))


def _table(samples: _Samples, classes: Sequence[str] | None, train: list[Rows]) -> tuple[ImageTable, NDArray[np.int64]]:
    """The table, with classes in Avalanche's order, and the classes in the order of their first appearance."""
    keys = sorted(set(samples.names))
    trained = dict.fromkeys(key for rows in train for key in sorted({samples.names[row] for row in rows}))
    untrained = [key for key in keys if key not in trained]
    if untrained:
        raise UserError(f"the Avalanche benchmark tests class {untrained[0][1]}, but no train experience has it")
    if classes is not None and len(classes) <= max(label for _, label in keys):
        raise UserError(f"{len(classes)} class names were given, but the benchmark has class {max(keys)[1]}")
    number = {key: index for index, key in enumerate(keys)}
    names = [str(label) if classes is None else classes[label] for _, label in keys]
    table = ImageTable(
        images=np.stack(_same_channels(samples.images)),
        labels=np.array([number[key] for key in samples.names], dtype=np.int64),
        domains=np.zeros(len(samples.names), dtype=np.int64),
        is_test=np.array(samples.tests, dtype=np.bool_),
        digests=np.stack(samples.digests),
        classes=tuple(f"{task}/{name}" if task >= 0 else name for (task, _), name in zip(keys, names, strict=True)),
        domain_names=("",),
    )
    return table, np.array([number[key] for key in trained], dtype=np.int64)


def _same_channels(images: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    channels = max(image.shape[0] for image in images)
    return [np.broadcast_to(image, (channels, *image.shape[1:])) for image in images]


def _scenario(kind: str, table: ImageTable, order: NDArray[np.int64], rows: dict[str, list[Rows]]) -> Scenario:
    class_sets = {name: [set(table.labels[part].tolist()) for part in rows[name]] for name in ("train", "test")}
    paired = class_sets["train"] == class_sets["test"] and len(np.unique(np.concatenate(rows["test"]))) == sum(
        map(len, rows["test"])
    )
    whole = np.unique(np.concatenate(rows["test"]))
    named = [
        (
            f"experience {index + 1}",
            Parts(train, valid, rows["test"][index] if paired else _tests_of(table, train, whole)),
        )
        for index, (train, valid) in enumerate(zip(rows["train"], rows["valid"], strict=True))
    ]
    scenario = assemble(kind, table, order, named)
    if paired:
        return scenario
    columns, taken = [], np.zeros(len(table), dtype=np.bool_)
    for index, part in enumerate(rows["test"]):
        fresh = np.unique(part[~taken[part]])
        taken[fresh] = True
        if len(fresh):
            columns.append((f"test {index + 1}", fresh))
    return replace(scenario, separate_splits=evaluation_parts(scenario, columns))


def _tests_of(table: ImageTable, train: Rows, tests: Rows) -> Rows:
    """The test images that belong to the classes of a task."""
    chosen: Rows = tests[np.isin(table.labels[tests], table.labels[train])]
    return chosen


def map_task_labels(streams: dict[str, list[Any]]) -> list[int] | None:
    """The task label of each experience; None if all are equal.

    Raises:
        UserError: If they are neither all equal nor different for each experience and the same in both streams.
    """
    found = {name: [_labels_of(exp) for exp in streams[name]] for name in ("train", "test")}
    if len({label for labels in found.values() for experience in labels for label in experience}) <= 1:
        return None
    for name, labels in found.items():
        for index, experience in enumerate(labels):
            if len(experience) > 1:
                raise _unmappable(f"{name} experience {index} has the labels {', '.join(map(str, experience))}")
    train, test = ([experience[0] for experience in found[name]] for name in ("train", "test"))
    if len(set(train)) < len(train):
        raise _unmappable(f"the train experiences have the labels {', '.join(map(str, train))}: one comes back")
    if train != test:
        raise _unmappable(f"train has {', '.join(map(str, train))}, but test has {', '.join(map(str, test))}")
    return train


def _labels_of(experience: Any) -> list[int]:
    labels = getattr(experience.dataset, "targets_task_labels", None)
    return [0] if labels is None else sorted(int(label) for label in labels.uniques)


def _unmappable(what: str) -> UserError:
    return UserError(
        f"cannot map the benchmark's task labels: {what}. Give all samples one label (the task is not known), or each "
        "experience a label of its own, the same in train and test."
    )
