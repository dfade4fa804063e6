"""The stream on which hyperparameters are selected; it contains no test rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clsuite.errors import UserError
from clsuite.scenarios.scenario import Scenario, fingerprint_parts


def judged_on_validation(scenario: Scenario) -> Scenario:
    """Replace each task's test part by its validation part.

    The labels of all other rows become -1, so that nothing can learn from them by mistake, and the fingerprints depend
    only on training and validation rows.

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
