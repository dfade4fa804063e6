"""SIGTERM and SIGUSR1 (of batch systems) and SIGHUP (of a closed terminal) end a command as Ctrl-C does.

While a command runs, Ctrl-C raises the same exception as these signals, so that a `KeyboardInterrupt` of a plugin does
not count as one. Ctrl-Z stops the runs together with the command.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from clsuite.errors import Interruption

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """While open, these signals interrupt; one that the caller ignores, as nohup does, stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    taken = [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    usual = signal.getsignal(signal.SIGINT)

    def interrupt(number: int, _: FrameType | None) -> None:
        for each in taken:  # what follows is the tidying up, which nothing interrupts
            signal.signal(each, signal.SIG_IGN)
        raise Interruption(number)

    def interrupt_again(number: int, _: FrameType | None) -> None:
        raise Interruption(number)

    for number in taken:
        signal.signal(number, interrupt)
    may_stop = signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL
    if may_stop:
        signal.signal(signal.SIGTSTP, _stop)
    if usual is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt_again)
    try:
        yield
    finally:
        if usual is signal.default_int_handler:
            signal.signal(signal.SIGINT, usual)
        for number in [*taken, *([signal.SIGTSTP] if may_stop else [])]:
            signal.signal(number, signal.SIG_DFL)


def _stop(number: int, _: FrameType | None) -> None:
    """Let Ctrl-Z stop the runs too, which have sessions of their own, until the command continues."""
    processes = sys.modules.get("clsuite.runner.processes")
    if processes is not None:
        processes.signal_workers(signal.SIGSTOP)
    os.kill(os.getpid(), signal.SIGSTOP)
    if processes is not None:
        processes.signal_workers(signal.SIGCONT)


def status_of(interrupt: KeyboardInterrupt) -> int:
    """The exit status that shells use for an end by that signal: 130 for Ctrl-C, 143 for SIGTERM, and so on."""
    return 128 + (interrupt.number if isinstance(interrupt, Interruption) else signal.SIGINT)
