"""Connects a run with its trackers, which are no part of it: not of its record, its key or its results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from clsuite.records import RunRecord
from clsuite.runner.plan import RunPlan
from clsuite.stream.listener import StreamListener
from clsuite.trackers.journal import JOURNAL
from clsuite.trackers.process import WriterProcess
from clsuite.trackers.recorder import JournalRecorder


@dataclass
class Tracking:
    """The trackers of a run.

    Attributes:
        listener: What listens to its stream; None for no trackers.
        status: The status of the run, once it has ended.
    """

    listener: StreamListener | None = None
    status: str = "interrupted"


@contextmanager
def tracked(plan: RunPlan) -> Iterator[Tracking]:
    """The trackers of a run, which receive the rest at the end of the block, whether the run is done or not."""
    if not plan.trackers:
        yield Tracking()
        return
    writer: WriterProcess | None = None

    def report() -> None:
        if writer is not None:
            writer.report()

    recorder = JournalRecorder(plan.beside(JOURNAL), described(plan.pending), report)
    if recorder.has_journal and not plan.trackers_later:
        writer = WriterProcess(plan.beside(JOURNAL), plan.trackers)
    tracking = Tracking(recorder)
    try:
        yield tracking
    finally:
        recorder.close()
        if writer is not None:
            writer.end(tracking.status)
            writer.wait()


def described(record: RunRecord) -> dict[str, object]:
    """The description of a run for trackers."""
    names = {"benchmark": record.benchmark, "method": record.method, "seed": record.seed, "key": record.key}
    return {**names, "plugins": [plugin.name for plugin in record.plugins], **record.config}
