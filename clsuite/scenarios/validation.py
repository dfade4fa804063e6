"""The stream that hyper-parameters are chosen on: no test row is left in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clsuite.errors import UserError
from clsuite.scenarios.scenario import Scenario, fingerprint_parts


def judged_on_validation(scenario: Scenario) -> Scenario:
    """The stream with each task's validation part in place of its test part.

    The labels of all other rows become -1, so that nothing can learn from them by mistake, and the fingerprints follow
    from training and validation rows alone.

    Raises:
        UserError: If a task has no validation images.
    """
    known = np.zeros(len(scenario.table), dtype=np.bool_)
    for task in scenario.tasks:
        if not len(task.validation):
            raise UserError(f"task '{task.name}' has no validation images: hold a larger share out")
        known[task.train] = known[task.validation] = True
    labels = np.where(known, scenario.labels, -1)
    tasks = tuple(
        replace(
            task,
            test=task.validation,
            fingerprint=fingerprint_parts(scenario.table, labels, (task.train, task.validation)),
        )
        for task in scenario.tasks
    )
    return replace(scenario, labels=labels, tasks=tasks, separate_splits=())
