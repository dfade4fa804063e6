"""All processes of a run: its worker's session, and descendants of the worker in other sessions.

What a plugin starts (a server, a loader, a shell) may outlive what started it. A worker is therefore the first process
of a session, by which its children are found when it is gone. One that leaves the session *and* whose parent has ended
cannot be distinguished from others' processes, and is left alone.
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
"""The process that all descend from."""
ROUNDS = 50
"""How often what was started in the meantime is looked for."""


@dataclass(frozen=True)
class _Process:
    """A process that runs, or one that ended and was not yet asked how."""

    pid: int
    parent: int
    group: int
    session: int
    ended: bool


def begin_session() -> None:
    """Make this process the first of a session; one that is the first of a group already stays in its own."""
    with suppress(OSError):
        os.setsid()


def members(leader: int) -> set[int]:
    """The processes of a worker's session or group, and those that descend from them; not the worker itself."""
    if leader <= INIT:
        return set()
    there = {one.pid: one for one in _processes()}
    found = {leader}
    while True:
        more = {one.pid for one in there.values() if {one.parent, one.group, one.session} & found} - found
        if not more:
            return {pid for pid in found - {leader, os.getpid()} if not there[pid].ended}
        found |= more


def end_all(pids: set[int]) -> None:
    """Kill processes, if they exist."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def end_others(leader: int) -> None:
    """End all processes of a worker's session but the worker, also those that they start in the meantime."""
    if not PROC.is_dir():
        return
    for _ in range(ROUNDS):
        left = members(leader)
        if not left:
            return
        end_all(left)


def end_left(leader: int) -> None:
    """End what a worker left behind that is gone.

    Where another process has its number there is nothing: no number is given again while a session has it.
    """
    if leader <= INIT or _is_another(leader):
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    end_others(leader)


def _is_another(leader: int) -> bool:
    """Whether a process of that number runs; a zombie is the worker itself."""
    try:
        os.kill(leader, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not any(one.ended for one in _processes() if one.pid == one.session == leader)


def _processes() -> Iterator[_Process]:
    """What the system says of its processes; nothing where it has no ``/proc``."""
    for folder in PROC.iterdir() if PROC.is_dir() else ():
        if not folder.name.isdecimal():
            continue
        try:
            text = (folder / "stat").read_bytes().rpartition(b")")[2]  # a name may hold spaces and brackets
        except OSError:
            continue
        words = text.split()
        parent, group, session = (int(word) for word in words[1:4])
        yield _Process(int(folder.name), parent, group, session, words[0] in (b"Z", b"X"))
