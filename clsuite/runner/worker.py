"""What runs in the worker processes. Importing this module pays for torch, Lightning and timm once."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch

from clsuite.errors import DataWarning, InputWarning, UserError
from clsuite.learner.compilation import check_compiler
from clsuite.learner.learner import Learner
from clsuite.learner.precision import resolve_precision
from clsuite.runner.build import build_learner
from clsuite.runner.execute import execute, load_scenario
from clsuite.runner.plan import RunPlan
from clsuite.scenarios import Scenario
from clsuite.scenarios.spec import FromAvalanche
from clsuite.stream.trainer import find_device

OTHER_SEED = 90210
"""Any number that is no generator's own first seed; nothing that is kept depends on it."""


def run_worker(plan: RunPlan, connection: Connection) -> None:
    """Do one run; sends progress events and at last the record's status."""
    _become_worker(connection)
    log = plan.beside(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    _redirect_output(str(log))
    _tell_warnings(connection)
    record = execute(plan, lambda event: _send(connection, {"kind": "progress", **event}))
    if record.status == "done":
        log.unlink(missing_ok=True)
    _send(connection, {"kind": "end", "status": record.status})


def check_worker(plans: Sequence[RunPlan], connection: Connection) -> None:
    """Build and start every method of the plans once, before any run; sends the first complaint, or an empty one."""
    _become_worker(connection)
    _redirect_output(os.devnull)
    _send(connection, {"kind": "end", "status": _complaint(plans)})


def _complaint(plans: Sequence[RunPlan]) -> str:
    try:
        scenario = _checked_scenario(plans)
        for plan in {plan.pending.method: plan for plan in plans}.values():
            resolve_precision(plan.pending.config["training"]["precision"], find_device(plan.device))
            if plan.pending.config["training"]["compile"]:
                check_compiler(find_device(plan.device))
            with torch.device("cpu"):
                _start(build_learner(plan.pending, plan.plugins, plan.weights), scenario)
    except UserError as error:
        return str(error)
    return ""


def _checked_scenario(plans: Sequence[RunPlan]) -> Scenario:
    """The stream of the first plan, seen to be the one that was planned.

    A stream from somebody's Python file is made some more times, with other seeds of the global generators: one that
    draws from them, and not from the seed that it is given, shows here and not in the middle of the runs.

    Raises:
        UserError: If a stream is not the one that was planned.
    """
    if not isinstance(plans[0].scenario.root, FromAvalanche):
        return load_scenario(plans[0])
    others = [plan for plan in plans if plan.pending.seed != plans[0].pending.seed]
    for number, plan in enumerate([plans[0], *others[:1], plans[0]]):
        torch.manual_seed(OTHER_SEED + number)
        np.random.seed(OTHER_SEED + number)
        random.seed(OTHER_SEED + number)
        scenario = load_scenario(plan)
    return scenario


def _start(learner: Learner, scenario: Scenario) -> None:
    """Let the plugins prepare the model, to hear what they refuse; an error of their own is the run's to record."""
    try:
        learner.start(scenario)
    except UserError:
        raise
    except Exception:
        logging.getLogger(__name__).debug("a plugin fails to start", exc_info=True)


def _become_worker(connection: Connection) -> None:
    """Leave Ctrl-C to the parent, and end when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        try:
            connection.recv()
        except (EOFError, OSError):
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _tell_warnings(connection: Connection) -> None:
    """Send our warnings to the parent; those about data it has heard itself, when it made the plan."""

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if not issubclass(category, InputWarning):
            usual(message, category, *place, **more)
        elif not issubclass(category, DataWarning):
            _send(connection, {"kind": "warning", "text": str(message)})

    usual = warnings.showwarning
    warnings.simplefilter("always", InputWarning)
    warnings.showwarning = show


def _redirect_output(path: str) -> None:
    """Send what libraries print to a file, so that the progress display stays whole."""
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)


def _send(connection: Connection, event: dict[str, Any]) -> None:
    try:
        connection.send(event)
    except (BrokenPipeError, OSError):
        os._exit(1)
