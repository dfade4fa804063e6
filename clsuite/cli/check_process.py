"""The checks of `clsuite check` in a separate process, so that a check that ends or hangs the process is reported."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsuite.conformance.finding import Report
from clsuite.errors import UserError, shortened, words_of
from clsuite.plugin.catalog import find_plugin, load_class
from clsuite.runner.methods import PluginUse
from clsuite.runner.processes import ForkServer, Worker

if TYPE_CHECKING:
    import torch

    from clsuite.conformance.plugin_under_test import Subject

SIMULATED = "simulated"
"""A device other than the CPU for machines without a GPU (`clsuite.conformance.simulated_device`)."""
SILENCE = 300.0
"""Largest number of seconds for one step of the checks."""
Work = tuple[Sequence[PluginUse], Mapping[str, Any], str, Path]


def check_aside(text: str, uses: Sequence[PluginUse], training: Mapping[str, Any], device: str) -> Report:
    """Check a method in another process.

    Args:
        text: The method as written, for messages.
        uses: Its plugins.
        training: Options of the training.
        device: Name of the device.

    Raises:
        UserError: If the device is missing, a plugin is broken, or it ends the process or hangs.
    """
    worker = ForkServer().start(work, (uses, training, device, Path.cwd()))
    try:
        return _follow(worker, shortened(text))
    finally:
        worker.kill()


def _follow(worker: Worker, name: str) -> Report:
    step = "import"
    while True:
        if not worker.connection.poll(SILENCE):
            raise UserError(f"'{name}' hangs in its check ({step}): it was stopped after {SILENCE:g} s")
        try:
            event: dict[str, Any] = worker.connection.recv()
        except Exception as error:  # it ended, or a plugin wrote something else into the connection
            worker.process.join(1.0)
            ended = "it broke the connection" if worker.process.is_alive() else worker.how_it_ended()
            raise UserError(f"'{name}' ends its check ({step}): {ended}") from error
        if event["kind"] == "step":
            step = event["step"]
        elif event["kind"] == "refused":
            raise UserError(event["text"])
        elif event["kind"] == "broken":
            raise UserError(f"'{name}' ends its check ({step}): {event['text']}")
        else:
            report: Report = event["report"]
            return report


def work(job: Work, connection: Connection) -> None:
    """The work of the process: it sends each step, and finally the report, what the method refuses, or the error."""
    from clsuite.runner.worker import become_worker

    become_worker(connection)
    try:
        _check(job, connection)
    except BaseException as error:  # a plugin may change global state: sys.path, the device of tensors
        try:
            connection.send({"kind": "broken", "text": words_of(error)})
        except BaseException:  # even the depth of calls
            os._exit(1)


def _check(job: Work, connection: Connection) -> None:
    from clsuite.conformance.suite import check_method

    uses, training, device, folder = job
    with suppress(OSError):
        os.chdir(folder)
    try:
        where = _device(device)
        subjects = [_subject(use) for use in uses]
        report = check_method(
            subjects,
            training=training,
            device=where,
            heard=lambda step: connection.send({"kind": "step", "step": step}),
        )
    except UserError as error:
        connection.send({"kind": "refused", "text": str(error)})
    else:
        connection.send({"kind": "report", "report": report})


def _device(name: str) -> torch.device:
    if name == SIMULATED:
        from clsuite.conformance.simulated_device import simulated_device

        return simulated_device()
    from clsuite.stream.trainer import find_device

    return find_device(name)


def _subject(use: PluginUse) -> Subject:
    from clsuite.conformance.plugin_under_test import subject_of

    info, _ = find_plugin(use.name)
    cls = load_class(info)
    return subject_of(partial(cls, **use.args), cls, info.name)
