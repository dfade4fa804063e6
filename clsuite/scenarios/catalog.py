"""The kinds of streams, with a description in one line and their properties. Needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clsuite.errors import UserError

if TYPE_CHECKING:
    from clsuite.scenarios.scenario import Task

KINDS: dict[str, str] = {
    "class_incremental": "new classes in each task: {tasks: 10}, or B50-inc5 for 50 classes and then 5 in each task",
    "task_incremental": "the same, but the task is known at test time (the main results are task-aware)",
    "domain_incremental": "the same classes in a new domain in each task",
    "cross_domain": "one data set after another; with dataset {name: sequence, parts: [...]} or {name: mtil}",
    "recurring": "tasks recur, with a probability that decays as a power of the time since they were last seen",
    "power_law": "each task also has images of all earlier ones, in shares that decay as a power of their age",
    "long_tailed": "class-incremental with a long-tailed class distribution, ordered or shuffled",
    "few_shot": "few-shot class-incremental: a base session with all images, then few images of few classes each",
    "blurry": "Si-blurry: some classes are disjoint, of the others a share is scattered over all tasks; single pass",
    "online": "class-incremental in a single pass: one epoch, each image once",
    "avalanche": "a benchmark made with Avalanche in a Python file: {path: my_stream.py}",
}
SINGLE_PASS = ("blurry", "online")
"""Kinds of streams whose images occur only once."""
SPECIAL_CASES = {"few_shot": "class_incremental"}
"""Kinds that every method of another kind can learn too."""


def check_single_pass(kind: str, epochs: int, from_memory: bool = False) -> None:
    """Check that a stream with a single pass is not trained on for several epochs.

    Args:
        kind: Kind of the stream.
        epochs: Number of passes over the training data.
        from_memory: Whether training uses only stored exemplars, for which several passes are allowed.

    Raises:
        UserError: If it is.
    """
    if kind in SINGLE_PASS and epochs != 1 and not from_memory:
        raise UserError(f"training.epochs is {epochs}, but a stream of kind '{kind}' passes once: set it to 1")


def check_competing(task: Task, method: str = "", trained_on: str = "") -> None:
    """Check that a task whose classes alone compete has several: under a local loss, or in a first session.

    Args:
        task: The task.
        method: Name of the method, for the message.
        trained_on: The plugin that trains on this task alone; none under a local loss.

    Raises:
        UserError: If it has one: its loss would always be 0, and nothing would be learned.
    """
    if len(task.classes) == 1:
        of_method = f"method '{method}': " if method else ""
        why, other = "under training.loss: local only the classes of a task compete", ", or training.loss: global"
        if trained_on:
            why, other = f"'{trained_on}' trains on this task alone", ""
        raise UserError(
            f"{of_method}task {task.index} ({task.name}) has one class, and {why}, so that its loss is exactly 0 and "
            f"nothing is learned: take tasks of several classes{other}"
        )
