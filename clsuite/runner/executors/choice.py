"""Selects the executor of a call, and creates it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from clsuite.config.error_text import first_mistake
from clsuite.config.yaml_models import mistakes_in
from clsuite.config.yaml_text import read_value
from clsuite.errors import UserError, did_you_mean, several
from clsuite.runner.executor import Executor
from clsuite.runner.executors.spec import (
    MODELS,
    AnyExecutor,
    DebugExecutor,
    ExecutorSpec,
    LocalExecutor,
    RayExecutor,
    SlurmExecutor,
)
from clsuite.runner.memory import GIGABYTE, free_memory
from clsuite.runner.options import BenchOptions
from clsuite.runner.pool import Pool
from clsuite.runner.spec import BenchmarkSpec

VARIABLE = "CLSUITE_EXECUTOR"
"""The environment variable for the executor, in the format of a benchmark's file."""
OF_WHOLE = "the file: "
"""The beginning of messages about a whole file, which is dropped for the variable."""


def chosen_executor(
    spec: BenchmarkSpec, options: BenchOptions, environment: Mapping[str, str] = os.environ
) -> AnyExecutor:
    """The executor of a call: its own, otherwise that of the environment, of the benchmark, or `local`.

    Options of the call are added to those of the same executor in the file or the environment.

    Args:
        spec: The benchmark.
        options: The options of the call.
        environment: The environment variables.

    Raises:
        UserError: If an option is unknown or has an invalid value, or two executors are named.
    """
    configured = _read(environment.get(VARIABLE, "")) or spec.executor
    before = configured.root if configured is not None else LocalExecutor()
    if options.debug and options.executor not in (None, "debug"):
        raise UserError(f"--debug means the executor 'debug': remove it or --executor {options.executor}")
    name = "debug" if options.debug else options.executor or before.kind
    settings = before.model_dump(exclude_unset=True) if before.kind == name else {}
    chosen = _with_options(name, {**settings, "kind": name}, options.executor_options)
    if isinstance(chosen, DebugExecutor):
        _refuse_beside_debug(options)
    return chosen


def _read(text: str) -> ExecutorSpec | None:
    """The executor in the environment; None if there is none.

    Raises:
        UserError: If it is invalid.
    """
    if not text.strip():
        return None
    content = read_value(text, VARIABLE)
    try:
        return ExecutorSpec.model_validate(content)
    except ValidationError as error:
        mistakes = mistakes_in(ExecutorSpec, content, error)
        raise several(f"{VARIABLE}: {mistake.removeprefix(OF_WHOLE)}" for mistake in mistakes) from error


def _with_options(name: str, settings: Mapping[str, Any], more: Mapping[str, Any]) -> AnyExecutor:
    model = MODELS[name]
    known = [field for field in model.model_fields if field != "kind"]
    for option in more:
        if option not in known:
            what = f"option of the executor '{name}':"
            raise did_you_mean(what, option, known) if known else UserError(f"the executor '{name}' has no options")
    try:
        return TypeAdapter[AnyExecutor](model).validate_python({**settings, **more})
    except ValidationError as error:
        raise UserError(first_mistake(error, "the executor", "--executor-option ")) from error


def _refuse_beside_debug(options: BenchOptions) -> None:
    if options.jobs is not None and options.jobs > 1:
        raise UserError("--debug executes one run after another: remove --jobs")
    if options.timeout is not None:
        raise UserError(
            "--debug executes the runs in this process, which cannot be stopped from outside: remove --timeout"
        )


def make_executor(
    chosen: AnyExecutor, options: BenchOptions, threads: int, slots: Sequence[str], notify: Callable[[str], None]
) -> Executor:
    """Create the executor of a call; that of `debug` is created by its caller, which reports errors itself.

    Args:
        chosen: The selected executor.
        options: The options of the call.
        threads: CPU threads of a run.
        slots: On this machine, the device of each simultaneous run.
        notify: Receives messages for the user, such as the ids of jobs.

    Raises:
        UserError: If its packages are not installed, or its cluster is not available.
    """
    if isinstance(chosen, RayExecutor):
        from clsuite.runner.executors.ray_cluster import RayCluster

        return RayCluster(chosen, options, threads)
    if isinstance(chosen, SlurmExecutor):
        from clsuite.runner.executors.slurm import SlurmArray

        return SlurmArray(chosen, options, threads, notify)
    return local_pool(options, slots, chosen.memory if isinstance(chosen, LocalExecutor) else None)


def local_pool(options: BenchOptions, slots: Sequence[str], memory: float | None = None) -> Pool:
    """Processes of this machine, as many at a time as the call says, otherwise as memory allows.

    Args:
        options: The options of the call.
        slots: The device of each simultaneous run.
        memory: GB that all runs together may use, if stated.
    """
    free = None if options.jobs else free_memory()
    return Pool(slots, options.timeout, memory=GIGABYTE * memory if memory else free)
