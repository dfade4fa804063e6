"""The code of the worker processes. Importing this module imports torch, Lightning and timm once."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import numpy as np
import torch

from clsuite.backbones.vit import forward_flops
from clsuite.errors import DataWarning, InputWarning, UserError
from clsuite.learner.compilation import check_compiler
from clsuite.learner.learner import Learner
from clsuite.learner.precision import resolve_precision
from clsuite.plugin.catalog import BrokenPluginError
from clsuite.probes.probes import make_probes
from clsuite.probes.spec import OwnProbe
from clsuite.records.canonical import canonical_json
from clsuite.runner.build import build_learner
from clsuite.runner.execute import execute, load_scenario, probe_context
from clsuite.runner.memory import Size
from clsuite.runner.named_files import refuse_changed_files
from clsuite.runner.plan import ELSEWHERE, RunPlan
from clsuite.runner.processes import SAVING
from clsuite.scenarios import Scenario
from clsuite.scenarios.spec import FromAvalanche, OwnScenario
from clsuite.sessions import begin_session, end_others
from clsuite.stream.task_checkpoint import ask_to_save
from clsuite.stream.trainer import find_device

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
"""Signals that end a run as interrupted."""
GRACE = 1.0
"""Seconds that the parent has to end this process when both get a signal."""
_FLOPS: dict[str, int] = {}
"""Operations of each backbone for an image, to which methods add little."""
OTHER_SEED = 90210
"""A seed other than the generators' initial one; no stored result depends on it."""


def run_worker(plan: RunPlan, connection: Connection) -> None:
    """Do one run; sends progress events, and finally the record's status, or why it cannot be written."""
    become_worker(connection)
    if plan.checkpoint_minutes is not None:
        for number in ENDING:
            signal.signal(number, _save_and_end)
    log = plan.beside(".log")
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        _redirect_output(str(log))
        _send_warnings(connection)
        record = execute(plan, lambda event: _send(connection, {"kind": "progress", **event}))
    except OSError as error:
        _redirect_output(os.devnull)
        text = f"cannot write into '{log.parent}': {error.strerror or error}"
        _end(connection, {"status": "failed", "unwritten": text})
    except UserError as error:
        _end(connection, {"status": "failed", "unwritten": str(error)})
    else:
        if record.status == "done":
            with suppress(OSError):
                log.unlink()
        _end(connection, {"status": record.status})


def check_worker(plans: Sequence[RunPlan], connection: Connection) -> None:
    """Build and start every method of the plans once, before any run.

    It sends an event when it enters the code of a method, and when it returns to the backbone's code; then what each
    method, or the stream of all, refuses, and finally the end. Anything else that a method raises is recorded by its
    runs.
    """
    become_worker(connection)
    _redirect_output(os.devnull)
    folder = Path.cwd()
    try:
        scenario = _checked_scenario(plans)
        make_probes([probe for probe in plans[0].probes if isinstance(probe, OwnProbe)], probe_context(plans[0]))
    except UserError as error:
        _send(connection, {"kind": "refused", "recipe": "", "text": str(error)})
    else:
        for recipe, plan in {plan.recipe: plan for plan in plans}.items():
            with suppress(OSError):
                os.chdir(folder)
            _check_method(plan, scenario, connection, recipe)
    _end(connection, {})


def _check_method(plan: RunPlan, scenario: Scenario, connection: Connection, recipe: str) -> None:
    def enter(own: bool) -> None:
        _send(connection, {"kind": "at", "recipe": recipe, "own": own})

    enter(False)
    try:
        if plan.device != ELSEWHERE:
            resolve_precision(plan.pending.config["training"]["precision"], find_device(plan.device))
            if plan.pending.config["training"]["compile"]:
                check_compiler(find_device(plan.device))
        refuse_changed_files(plan.plugins, plan.pending.plugins, plan.data_root)
        with torch.device("cpu"):
            learner = build_learner(plan.pending, plan.plugins, plan.weights, enter, plan.files)
            learner.data_root = plan.data_root
            learner.start(scenario)
        size = scenario.table.images.shape[-1]
        _send(connection, {"kind": "size", "recipe": recipe, "size": _size(plan, learner, size)})
    except BrokenPluginError:
        pass
    except UserError as error:
        _send(connection, {"kind": "refused", "recipe": recipe, "text": str(error)})
    except BaseException:  # also sys.exit of a plugin; Ctrl-C does not come to this process
        logging.getLogger(__name__).debug("a plugin fails to start", exc_info=True)


def _size(plan: RunPlan, learner: Learner, image_size: int) -> Size:
    """The size of a learner."""
    trained = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    name = canonical_json(plan.pending.config["backbone"])
    if name not in _FLOPS:
        _FLOPS[name] = forward_flops(learner.backbone, image_size)
    return Size(
        parameters=sum(parameter.numel() for parameter in learner.parameters()),
        trained=sum(parameter.numel() for parameter in trained),
        flops=_FLOPS[name],
        features=learner.backbone.width,
        through_backbone=any(parameter.requires_grad for parameter in learner.backbone.parameters()),
    )


def _checked_scenario(plans: Sequence[RunPlan]) -> Scenario:
    """The stream of the first plan, checked to be the planned one.

    A stream from a user's file or class is made a few more times, with other seeds of the global generators. A stream
    that draws from them, and not from the seed that it is given, is found here and not in the middle of the runs.

    Raises:
        UserError: If a stream is not the planned one.
    """
    if not isinstance(plans[0].scenario.root, FromAvalanche | OwnScenario):
        return load_scenario(plans[0])
    others = [plan for plan in plans if plan.pending.seed != plans[0].pending.seed]
    for number, plan in enumerate([plans[0], *others[:1], plans[0]]):
        torch.manual_seed(OTHER_SEED + number)
        np.random.seed(OTHER_SEED + number)
        random.seed(OTHER_SEED + number)
        scenario = load_scenario(plan)
    return scenario


def become_worker(connection: Connection) -> None:
    """End when the parent ends, with all processes started here, and let the parent end all its workers."""
    begin_session()
    for number in ENDING:
        signal.signal(number, _end_after_the_parent)
    if chosen := os.environ.get("CLSUITE_CACHE"):
        os.environ["CLSUITE_CACHE"] = str(Path(chosen).absolute())  # a plugin may change the current folder

    def watch() -> None:
        try:
            connection.recv()
        except (EOFError, OSError):
            _end_alone()

    threading.Thread(target=watch, daemon=True).start()


def _end_after_the_parent(number: int, _: FrameType | None) -> None:
    """A signal to the whole group reaches the parent too, which ends this process as interrupted; else it ends."""
    time.sleep(GRACE)
    _end_by(number)


def _save_and_end(number: int, _: FrameType | None) -> None:
    """Save within the task, if there is time, and end."""
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, lambda *_: _end_by(number))
    signal.setitimer(signal.ITIMER_REAL, SAVING)
    ask_to_save(lambda: _end_by(number))


def _end_by(number: int) -> None:
    """End by a signal, with all processes started here."""
    end_others(os.getpid())
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _send_warnings(connection: Connection) -> None:
    """Send warnings to the parent, except those about data, which it has found itself when it made the plan."""

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if not issubclass(category, InputWarning):
            usual(message, category, *place, **more)
        elif not issubclass(category, DataWarning):
            _send(connection, {"kind": "warning", "text": str(message)})

    usual = warnings.showwarning
    warnings.simplefilter("always", InputWarning)
    warnings.showwarning = show


def _redirect_output(path: str) -> None:
    """Redirect the output of libraries to a file, so that it does not disturb the progress display.

    Raises:
        OSError: If the file cannot be opened.
    """
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for handle, name in ((1, "stdout"), (2, "stderr")):
        with suppress(AttributeError, OSError, ValueError):  # the parent's may be closed
            getattr(sys, name).flush()
        os.dup2(target, handle)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(handle, "w", buffering=1, closefd=False))
    if target > 2:
        os.close(target)


def _send(connection: Connection, event: dict[str, Any]) -> None:
    try:
        connection.send(event)
    except (BrokenPipeError, OSError):
        _end_alone()


def _end(connection: Connection, event: dict[str, Any]) -> None:
    """Report the end of the work, after ending the processes started for it, which can still be identified."""
    end_others(os.getpid())
    _send(connection, {"kind": "end", **event})


def _end_alone() -> NoReturn:
    """End without a parent that would end the processes started here."""
    end_others(os.getpid())
    os._exit(1)
