"""All processes of a run: its worker's session, and descendants of the worker in other sessions.

Processes that a plugin starts (a server, a loader, a shell) may outlive their parent. A worker is therefore the leader
of a session, by which its children are found after it has ended. A process that leaves the session *and* whose parent
has ended cannot be distinguished from other processes, and is not touched.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
INIT = 1
"""Process id of init, the ancestor of all processes."""
ROUNDS = 50
"""Number of searches for processes that were started meanwhile."""


@dataclass(frozen=True)
class _Process:
    """A process that is running, or is a zombie."""

    pid: int
    parent: int
    group: int
    session: int
    ended: bool


def begin_session() -> None:
    """Make this process the leader of a session; the leader of a process group stays in its session."""
    with suppress(OSError):
        os.setsid()


def members(leader: int) -> set[int]:
    """The processes of a worker's session or group and their descendants; not the worker itself."""
    if leader <= INIT:
        return set()
    there = {process.pid: process for process in _processes()}
    found = {leader}
    while True:
        more = {
            process.pid for process in there.values() if {process.parent, process.group, process.session} & found
        } - found
        if not more:
            return {pid for pid in found - {leader, os.getpid()} if not there[pid].ended}
        found |= more


def end_all(pids: set[int]) -> None:
    """Kill processes, if they exist."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def end_others(leader: int) -> None:
    """Kill all processes of a worker's session except the worker, including those started meanwhile."""
    if not PROC.is_dir():
        return
    for _ in range(ROUNDS):
        left = members(leader)
        if not left:
            return
        end_all(left)


def end_left(leader: int) -> None:
    """Kill what a worker left behind after its end.

    If another process has its id, nothing is left: ids are not reused as long as a session has them.
    """
    if leader <= INIT or _is_another(leader):
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    end_others(leader)


def _is_another(leader: int) -> bool:
    """Whether another process has that id; a zombie is the worker itself."""
    try:
        os.kill(leader, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not any(process.ended for process in _processes() if process.pid == process.session == leader)


def _processes() -> Iterator[_Process]:
    """The processes that the system reports; none if it has no ``/proc``."""
    for folder in PROC.iterdir() if PROC.is_dir() else ():
        if not folder.name.isdecimal():
            continue
        try:
            text = (folder / "stat").read_bytes().rpartition(b")")[2]  # a name may contain spaces and parentheses
        except OSError:
            continue
        words = text.split()
        parent, group, session = (int(word) for word in words[1:4])
        yield _Process(int(folder.name), parent, group, session, words[0] in (b"Z", b"X"))
