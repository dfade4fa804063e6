"""User-defined streams: their base class, and checks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from clsuite.data.table import ImageTable
from clsuite.errors import UserError, did_you_mean, printable
from clsuite.scenarios.assemble import Parts, assemble
from clsuite.scenarios.catalog import KINDS
from clsuite.scenarios.scenario import Rows, Scenario, Task, fingerprint_parts


class ScenarioBuilder(ABC):
    """Base class of a user-defined stream.

    The constructor of a subclass takes the arguments of the benchmark:
    ``scenario: {class: my_package.streams:MyStream, tasks: 5}``.
    """

    @abstractmethod
    def build(self, table: ImageTable, seed: int) -> Scenario:
        """Make the stream of a seed. Called when a benchmark is planned, and again by each run.

        All random draws must follow from `seed`: the same seed must give the same stream in each process. Draw from
        ``numpy.random.default_rng(seed)``, for example.

        Args:
            table: The images of the benchmark's data set.
            seed: The seed of the run.

        Returns:
            The stream; `make_scenario` makes it from the rows of its tasks.
        """


def make_scenario(
    kind: str,
    table: ImageTable,
    tasks: Sequence[tuple[str, ArrayLike, ArrayLike]],
    validation: Sequence[ArrayLike] = (),
) -> Scenario:
    """Make a stream from the rows of its tasks.

    Args:
        kind: Kind of stream (``clsuite list scenarios``), which determines the methods that can learn it and how it is
            evaluated.
        table: The images.
        tasks: Name, training rows and test rows of each task.
        validation: Rows of each task that are held out; none by default.

    Returns:
        The stream, whose classes are numbered by their first appearance.

    Raises:
        UserError: If a task has no training or no test images, or tests a class that no task trains on.
    """
    held = [_rows(rows) for rows in validation] or [np.zeros(0, dtype=np.int64)] * len(tasks)
    if len(held) != len(tasks):
        raise UserError(f"a stream of {len(tasks)} tasks was given validation rows of {len(held)}")
    named = [
        (str(name), Parts(_rows(train), kept, _rows(test)))
        for (name, train, test), kept in zip(tasks, held, strict=True)
    ]
    trained = [label for _, parts in named for label in np.unique(table.labels[parts.train]).tolist()]
    order = list(dict.fromkeys([*trained, *range(len(table.classes))]))
    scenario = assemble(kind, table, np.array(order, dtype=np.int64), named)
    return checked_scenario(scenario, "the stream", table.images.shape[-1])


def _rows(rows: ArrayLike) -> Rows:
    return np.asarray(rows, dtype=np.int64).reshape(-1)


def checked_scenario(scenario: Any, where: str, image_size: int) -> Scenario:
    """Check what user code returned as a stream.

    Args:
        scenario: What it returned.
        where: What returned it, for the message.
        image_size: Side that the images must have.

    Raises:
        UserError: If it is not a stream, or one that cannot be learned; says why.
    """
    if not isinstance(scenario, Scenario):
        raise UserError(f"{where} gives {type(scenario).__name__}, but must return a clsuite.scenarios.Scenario")
    if scenario.kind not in KINDS:
        raise UserError(f"{where} gives a stream whose kind is not known: {did_you_mean('kind', scenario.kind, KINDS)}")
    if problem := _table_problem(scenario, image_size) or _tasks_problem(scenario):
        raise UserError(f"{where} gives a stream {problem}")
    return scenario


def _table_problem(scenario: Scenario, image_size: int) -> str:
    """The problem with the images and labels; empty if there is none."""
    table = scenario.table
    if not isinstance(table, ImageTable) or table.images.dtype != np.uint8 or table.images.ndim != 4:
        return "whose table is not a clsuite.data.ImageTable of uint8 images [N, C, H, W]"
    if table.images.shape[2:] != (image_size, image_size):
        found = "x".join(map(str, table.images.shape[2:]))
        return f"of images of {found} px, but the benchmark's backbone.image_size is {image_size}"
    columns = (table.labels, table.domains, table.is_test, table.digests, scenario.labels)
    if any(len(column) != len(table.images) for column in columns):
        return "whose labels, domains, parts or digests are not one for each image"
    return ""


def _tasks_problem(scenario: Scenario) -> str:
    """The problem with the tasks; empty if there is none."""
    if not scenario.tasks:
        return "without tasks"
    seen = 0
    for index, task in enumerate(scenario.tasks):
        if problem := _task_problem(scenario, index, task):
            return f"whose task {index} ({printable(str(task.name))}) {problem}"
        new = max(task.classes) + 1
        first = sorted(label for label in task.classes if label >= seen)
        if first != list(range(seen, max(new, seen))):
            return f"whose classes are not numbered by their first appearance: task {index} brings {first}"
        seen = max(new, seen)
        if int(scenario.labels[task.test].max()) >= seen:
            return f"whose task {index} ({printable(str(task.name))}) tests classes that no task has brought by then"
    return ""


def _task_problem(scenario: Scenario, index: int, task: Task) -> str:
    parts = (task.train, task.validation, task.test)
    if task.index != index:
        return f"has the index {task.index}"
    if not all(isinstance(rows, np.ndarray) and rows.dtype == np.int64 and rows.ndim == 1 for rows in parts):
        return "has rows that are not int64 arrays [N]"
    if any(len(rows) and not 0 <= rows.min() <= rows.max() < len(scenario.table) for rows in parts):
        return f"has rows beyond the {len(scenario.table)} images of the table"
    if not len(task.train) or not len(task.test):
        return f"has no {'test' if len(task.train) else 'training'} images"
    if np.intersect1d(task.train, np.concatenate(parts[1:])).size:
        return "tests images that it trains on"
    if task.classes != tuple(np.unique(scenario.labels[task.train]).tolist()):
        return "has classes that are not those of its training images"
    if task.fingerprint != fingerprint_parts(scenario.table, scenario.labels, parts):
        return "has a fingerprint that is not that of its rows: make the stream with clsuite.scenarios.make_scenario"
    return ""
