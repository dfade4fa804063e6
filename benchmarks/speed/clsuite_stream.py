"""clsuite's contestants: the stream loop with a learner, as a benchmark runs it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from measure import Learned
from workload import Workload

from clsuite.learner.learner import Learner
from clsuite.plugin import Plugin
from clsuite.stream.evaluation import NOT_SEEN
from clsuite.stream.loop import Stream


def prepare_clsuite(workload: Workload, plugin: Plugin) -> Callable[[], Learned]:
    """Build the learner and its stream."""
    learner = Learner(workload.backbone(), workload.options, [plugin], workload.seed)
    stream = Stream(learner, workload.scenario, torch.device("cpu"))

    def learn() -> Learned:
        stream.run()
        predictions = stream.matrix.class_incremental
        return Learned(
            training=sum(task.train_seconds for task in stream.tasks),
            evaluation=sum(task.eval_seconds for task in stream.tasks),
            steps=sum(task.steps for task in stream.tasks),
            evaluated=int((predictions != NOT_SEEN).sum()),
            accuracy=float((predictions[-1] == stream.matrix.labels).mean()),
        )

    return learn
