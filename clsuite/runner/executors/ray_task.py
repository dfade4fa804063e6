"""The tasks on the nodes of a Ray cluster: each does one run, in a separate process as on any machine.

Ray reuses its worker processes, and each has a fork server with the libraries loaded, so that later runs start faster;
a run that crashes ends neither of them.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from clsuite.errors import UserError
from clsuite.records import RunRecord
from clsuite.runner.executors.journey import AbsentWeightsError, Luggage, arrived, away, files_of, keep_weights
from clsuite.runner.plan import RunPlan, failed_record
from clsuite.runner.pool import Pool
from clsuite.runner.processes import Entry
from clsuite.runner.shared_runs import GivenRuns

SEND_INTERVAL = 0.5
"""Seconds between two progress events of a run, since all events go through one process."""
Send = Callable[[tuple[str, dict[str, Any]]], Any]


@dataclass(frozen=True)
class Answer:
    """The result of a task.

    Attributes:
        status: Status of the run; ``weights`` if it has not started because its weights must be sent.
        record: The record, if it could not be written on the node.
        files: The files of the run, by suffix, if the caller's folder is not shared.
    """

    status: str
    record: RunRecord | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)


def do_run(
    plan: RunPlan,
    luggage: Luggage,
    weights: Sequence[Any],
    news: Any,
    timeout: float | None,
    entry: Entry,
) -> Answer:
    """Do a run on this node.

    Args:
        plan: The plan of the caller.
        luggage: What is sent with all runs.
        weights: Ray's reference to the content of the file of its weights, if they are sent.
        news: Ray's actor that receives the run's name and its progress events.
        timeout: Seconds after which the run is ended.
        entry: The function that its process calls with the plan.
    """
    import ray

    if weights:
        keep_weights(plan, ray.get(weights[0]))
    plan = replace(plan, device=node_device(plan.device, ray.get_gpu_ids()))
    try:
        here = arrived(plan, luggage)
    except AbsentWeightsError:
        return Answer("weights")
    except UserError as error:
        return Answer("failed", failed_record(plan, "failed", str(error), 0.0))
    shared = luggage.is_at_home
    here = here if shared else away(here)
    sender = _EventSender(str(plan.record_path), news.put_nowait.remote)
    runs = GivenRuns([here])
    unwritten = Pool([here.device], timeout, entry).run(runs, sender, {})
    return Answer(sender.status, next(iter(unwritten.values()), None), {} if shared else files_of(here))


def node_device(device: str, gpus: Sequence[int | str], environment: Mapping[str, str] = os.environ) -> str:
    """The device of a run for which some GPUs of this node are reserved.

    Args:
        device: The device in the caller's plan.
        gpus: Ray's numbers of the GPUs, which count all GPUs of the node.
        environment: The environment variables, which may make fewer GPUs visible, with new numbers.
    """
    if device not in ("auto", "cuda") or not gpus:
        return "cpu" if device == "auto" else device
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    return f"cuda:{visible.split(',').index(str(gpus[0])) if visible else gpus[0]}"


@dataclass
class _EventSender:
    """Sends the events of a run to the caller."""

    name: str
    send: Send
    status: str = "failed"
    last_sent: float = 0.0

    def __call__(self, plan: RunPlan, event: dict[str, Any]) -> None:
        """Handle an event of the pool."""
        if event["kind"] == "end":
            self.status = event["status"]
        elif event["kind"] == "start":
            self.send((self.name, {**event, "device": f"{plan.device} of {socket.gethostname()}"}))
        elif event["kind"] != "progress" or time.monotonic() - self.last_sent > SEND_INTERVAL:
            self.last_sent = time.monotonic()
            self.send((self.name, event))
