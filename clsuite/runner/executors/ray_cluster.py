"""Runs as tasks of a Ray cluster, which places them and restarts them when a node is lost."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from clsuite.errors import UserError, words_of
from clsuite.records import RunRecord, read_record, write_record
from clsuite.runner import worker_entry
from clsuite.runner.checks import Failure
from clsuite.runner.executor import Listener
from clsuite.runner.executors.journey import Luggage, bring_home, marked, write_trackers
from clsuite.runner.executors.ray_task import Answer, do_run
from clsuite.runner.executors.spec import RayExecutor
from clsuite.runner.manifest import make_manifest
from clsuite.runner.options import BenchOptions
from clsuite.runner.plan import ELSEWHERE, RunPlan, failed_record
from clsuite.runner.pool import TAKEN_OVER, Pool
from clsuite.runner.processes import Entry
from clsuite.runner.shared_runs import SharedRuns
from clsuite.trackers.process import WriterProcess

WAIT = 0.2
"""Seconds between two checks of the tasks."""
ENDING = 10.0
"""Seconds that canceled tasks have to end their runs."""
GIGABYTE = 10**9
INSTALL = "the executor 'ray' needs Ray: pip install \"clsuite[ray]\""


class RayCluster:
    """Does runs on a Ray cluster."""

    def __init__(
        self, chosen: RayExecutor, options: BenchOptions, threads: int, entry: Entry = worker_entry.run
    ) -> None:
        """Prepare.

        Args:
            chosen: The cluster, and the resources of a run.
            options: The options of the call.
            threads: CPU threads of a run.
            entry: The function that the process of a run calls with its plan.

        Raises:
            UserError: If Ray is not installed, or a run needs several devices, which must be adjacent: Ray assigns any
                of a node's devices.
        """
        if options.devices > 1:
            raise UserError("the executor 'ray' gives each run one device: remove --devices, or use local or slurm")
        self._ray = _import_ray()
        self._chosen, self._options, self._entry = chosen, options, entry
        self._cpus = chosen.cpus or threads

    def check(self, plans: Sequence[RunPlan]) -> Mapping[str, Failure]:
        """Build every method once, on this machine, which may have no GPU; see `check_methods`."""
        return Pool(["cpu"], self._options.timeout).check([replace(plan, device=ELSEWHERE) for plan in plans])

    def run(self, runs: SharedRuns, listener: Listener, failures: Mapping[str, Failure]) -> dict[Path, RunRecord]:
        """Do all runs that are not done elsewhere.

        Args:
            runs: The runs.
            listener: Receives the events of each run.
            failures: Methods that failed their check, by `RunPlan.recipe`: their runs fail.

        Returns:
            The records that could not be written, by their path.

        Raises:
            UserError: If the cluster is not available, or no node has enough resources for a run.
        """
        plans = runs.left
        if not plans:
            return {}
        folder = plans[0].record_path.parent.parent
        with self._connected(), marked(folder) as mark:
            sweep = _Sweep(self._ray, runs, listener, failures, self._options.jobs)
            sweep.begin(self._task(self._resources()), Luggage(mark, make_manifest(plans).model_dump_json()))
            return sweep.finish(self._options.timeout, self._entry)

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """A connection to the cluster, or to a new one on this machine; an existing connection is not changed."""
        if self._ray.is_initialized():
            yield
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        quiet = {"log_to_driver": False, "logging_level": "ERROR", "include_dashboard": None}
        try:
            if self._chosen.address is None:
                store = int(self._chosen.object_store * GIGABYTE)
                self._ray.init(address="local", object_store_memory=store, **{**quiet, "include_dashboard": False})
            else:
                self._ray.init(address=self._chosen.address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(f"cannot reach the Ray cluster '{self._chosen.address}': {words_of(error)}") from error
        try:
            yield
        finally:
            self._ray.shutdown()

    def _resources(self) -> dict[str, float]:
        """The resources of a run.

        Raises:
            UserError: If no node has enough.
        """
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        gpus = self._chosen.gpus
        if gpus is None:
            gpus = 1 if self._options.device != "cpu" and any(node.get("GPU") for node in nodes) else 0
        memory = (self._chosen.memory or 0) * GIGABYTE
        wanted = {"CPU": self._cpus, "GPU": gpus, "memory": memory}
        if not any(all(node.get(name, 0) >= number for name, number in wanted.items()) for node in nodes):
            request = ", ".join(f"{number:g} {name}" for name, number in wanted.items() if number)
            most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in wanted if wanted[name]}
            have = ", ".join(f"{number:g} {name}" for name, number in most.items())
            raise UserError(
                f"no node of the Ray cluster has room for a run ({request}; the largest have {have}): give "
                "--executor-option cpus, gpus or memory"
            )
        return wanted

    def _task(self, wanted: Mapping[str, float]) -> _Task:
        settings: dict[str, Any] = {
            "num_cpus": wanted["CPU"],
            "num_gpus": wanted["GPU"],
            "memory": wanted["memory"] or None,
            "max_retries": self._chosen.retries,
        }
        if wanted["GPU"]:  # a fork server is older than the run and would use Ray's variables for an earlier GPU
            settings["runtime_env"] = {"env_vars": {"RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}}
        return _Task(self._ray.remote(do_run), settings, wanted)


@dataclass(frozen=True)
class _Task:
    """The Ray task of a run, and its resources."""

    remote: Any
    settings: Mapping[str, Any]
    wanted: Mapping[str, float]


@dataclass
class _Sweep:
    """The runs of a call with their current tasks."""

    ray: Any
    runs: SharedRuns
    listener: Listener
    failures: Mapping[str, Failure]
    jobs: int | None
    pending: dict[Any, RunPlan] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)
    unwritten: dict[Path, RunRecord] = field(default_factory=dict)
    weights: dict[str, Any] = field(default_factory=dict)
    writers: list[WriterProcess] = field(default_factory=list)

    def begin(self, task: _Task, luggage: Luggage) -> None:
        """Prepare what all tasks have in common."""
        from ray.util.queue import Queue
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(self.ray.get_runtime_context().get_node_id(), soft=True)
        self.task, self.luggage = task, self.ray.put(luggage)
        self.news = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})

    def finish(self, timeout: float | None, entry: Entry) -> dict[Path, RunRecord]:
        """Do the runs; returns the records that could not be written."""
        self.more = (self.news.actor, timeout, entry)
        try:
            while self.pending or not self.runs.is_over:
                self._take()
                self._step()
            for writer in self.writers:
                writer.wait()
        except BaseException:
            self._cancel()
            raise
        finally:
            self.news.shutdown(force=True)
        return self.unwritten

    def _take(self) -> None:
        while len(self.pending) < self._room() and (plan := self.runs.take()) is not None:
            failure = self.failures.get(plan.recipe)
            if failure is None:
                self._submit(plan)
            else:
                self._start(plan)
                self._end(plan, failed_record(plan, failure.status, failure.reason, 0.0))

    def _room(self) -> int:
        """Number of simultaneous tasks: those that fit, and one that waits, which lets an elastic cluster grow."""
        there = self.ray.cluster_resources()
        most: int = min(math.floor(there.get(name, 0) / number) for name, number in self.task.wanted.items() if number)
        room = max(most, 1) + 1
        return room if self.jobs is None else min(room, self.jobs)

    def _submit(self, plan: RunPlan) -> None:
        """Submit a run; with its weights, if some node did not have them."""
        sent = self.weights.get(str(plan.weights.sha256))
        timeout, entry = self.more[1:]
        named = self.task.remote.options(**self.task.settings, name=plan.name)
        reference = named.remote(plan.whole_paths(), self.luggage, [sent] if sent else [], self.more[0], timeout, entry)
        self.pending[reference] = plan

    def _step(self) -> None:
        """Wait for a short time, and handle what has happened."""
        if self.pending:
            self.ray.wait(list(self.pending), timeout=WAIT)
            ended, _ = self.ray.wait(list(self.pending), num_returns=len(self.pending), timeout=0)
        else:
            time.sleep(0 if self.runs.is_over else WAIT)
            ended = []
        self._receive_events()
        for reference in ended:
            self._finish(reference, self.pending.pop(reference))
        for reference, plan in list(self.pending.items()):
            if self.runs.is_lost(plan):
                self.ray.cancel(reference)
                del self.pending[reference]
                self.listener(plan, {"kind": "warning", "text": TAKEN_OVER})
                self.runs.give_back(plan, again=True)
        for plan, event in self.runs.news():
            self.listener(plan, event)

    def _receive_events(self) -> None:
        """Handle the events of the tasks; the ends of runs do not depend on them or on the actor that forwards them."""
        plans = {str(plan.whole_paths().record_path): plan for plan in self.pending.values()}
        try:
            events = self.news.get_nowait_batch(self.news.qsize())
        except self.ray.exceptions.RayActorError:  # it may be unreachable for a while after a node is lost
            return
        for name, event in events:
            if plan := plans.get(name):
                if event["kind"] == "start":
                    self._start(plan)
                else:
                    self.listener(plan, event)
                self.runs.report_progress(plan, event)

    def _start(self, plan: RunPlan) -> None:
        self.begun[plan.name] = time.monotonic()
        self.listener(plan, {"kind": "start"})

    def _finish(self, reference: Any, plan: RunPlan) -> None:
        """Handle the result of a task."""
        if plan.name not in self.begun:
            self._start(plan)
        try:
            answer: Answer = self.ray.get(reference)
            if answer.status == "weights":
                self._send_weights(plan)
                return
            bring_home(plan, answer.files)
            if (writer := write_trackers(plan, answer.files, answer.status)) is not None:
                self.writers.append(writer)
            self._end(plan, answer.record, answer.status)
        except self.ray.exceptions.RayError as error:
            self._end(plan, failed_record(plan, "failed", f"Ray lost the run: {words_of(error)}", self._seconds(plan)))
        except UserError as error:
            self._end(plan, failed_record(plan, "failed", str(error), self._seconds(plan)))

    def _send_weights(self, plan: RunPlan) -> None:
        """Make the weights of a run available to all nodes, and submit it again."""
        path = plan.whole_paths().weights.path
        assert path is not None
        self.weights[str(plan.weights.sha256)] = self.ray.put(path.read_bytes())
        self._submit(plan)

    def _seconds(self, plan: RunPlan) -> float:
        return time.monotonic() - self.begun[plan.name]

    def _end(self, plan: RunPlan, record: RunRecord | None, status: str = "failed") -> None:
        """Report how a run ended; writes a record if the run has not written one."""
        if record is not None:
            try:
                write_record(record, plan.record_path)
            except UserError:
                self.unwritten[plan.record_path] = record
        self.listener(plan, {"kind": "end", "status": record.status if record else status})
        self.runs.give_back(plan)

    def _cancel(self) -> None:
        """Let the tasks end their runs, as Ctrl-C does on one machine."""
        with suppress(Exception):  # the cluster itself may be lost
            for reference in self.pending:
                self.ray.cancel(reference)
            self.ray.wait(list(self.pending), num_returns=len(self.pending), timeout=ENDING)
        for plan in self.pending.values():
            with suppress(UserError):
                if not _is_record_of(plan):
                    write_record(plan.pending, plan.record_path)


def _is_record_of(plan: RunPlan) -> bool:
    """Whether a run has written its record."""
    try:
        return read_record(plan.record_path).key == plan.pending.key
    except UserError:
        return False


def _import_ray() -> Any:
    """Import Ray.

    Raises:
        UserError: If it is not installed.
    """
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise UserError(INSTALL) from error
    return ray
