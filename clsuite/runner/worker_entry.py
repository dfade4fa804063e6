"""Entry points of the worker processes for the parent, which must not import torch."""

from __future__ import annotations

from multiprocessing.connection import Connection
from typing import Any


def run(plan: Any, connection: Connection) -> None:
    """See `clsuite.runner.worker.run_worker`."""
    from clsuite.runner.worker import run_worker

    run_worker(plan, connection)


def check(plans: Any, connection: Connection) -> None:
    """See `clsuite.runner.worker.check_worker`."""
    from clsuite.runner.worker import check_worker

    check_worker(plans, connection)
