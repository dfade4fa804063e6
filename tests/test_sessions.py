"""What a worker has started ends with it, whatever sessions and groups it made; what is of others does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clsuite.sessions import end_all, end_left, end_others, members

WAYS = {
    "a child": "subprocess.Popen(SLEEP)",
    "a group of its own": "subprocess.Popen(SLEEP, process_group=0)",
    "a session of its own": "subprocess.Popen(SLEEP, start_new_session=True)",
    "a shell's child": "subprocess.Popen(['sh', '-c', 'sleep 1000 & sleep 1000'])",
    "an orphan": "subprocess.run(['sh', '-c', 'sleep 1000 >/dev/null 2>&1 &'])",
    "a fork": "os.fork() or time.sleep(1000)",
    "deaf to other signals": "subprocess.Popen(['sh', '-c', 'trap \"\" TERM INT HUP; sleep 1000; sleep 1000'])",
}
SCRIPT = """
import os, subprocess, sys, time
SLEEP = ["sleep", "1000"]
{way}
print("ready", flush=True)
time.sleep(1000)
"""


def eventually(condition: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


@pytest.fixture(params=WAYS)
def leader(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """The first process of a session, which has started others."""
    script = SCRIPT.format(way=WAYS[request.param])
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    assert eventually(lambda: bool(members(process.pid)))
    yield process
    end_all(members(process.pid))
    process.kill()
    process.wait()
    process.stdout.close()


def test_all_of_them_are_found_and_end(leader: subprocess.Popen[str]) -> None:
    found = members(leader.pid)
    end_others(leader.pid)
    assert eventually(lambda: not any(map(runs, found)))
    assert leader.poll() is None


def test_those_of_a_leader_that_is_gone_end(leader: subprocess.Popen[str]) -> None:
    stays = {pid for pid in members(leader.pid) if os.getsid(pid) == leader.pid}
    leader.kill()
    leader.wait()
    end_left(leader.pid)
    assert eventually(lambda: not any(map(runs, stays)))


def test_those_of_a_leader_that_ended_and_nobody_asked_end_too(leader: subprocess.Popen[str]) -> None:
    stays = {pid for pid in members(leader.pid) if os.getsid(pid) == leader.pid}
    leader.kill()
    assert eventually(lambda: not runs(leader.pid))
    end_left(leader.pid)
    assert eventually(lambda: not any(map(runs, stays)))


def test_others_are_left_alone() -> None:
    other = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    ended = subprocess.Popen(["true"], start_new_session=True)
    ended.wait()
    try:
        end_left(ended.pid)
        end_left(other.pid)  # its number is taken, so that it is nobody's rest
        assert members(other.pid) == members(0) == members(1) == set()
        assert other.poll() is None
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
