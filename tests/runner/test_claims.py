"""Claims: one process has a run, whoever else wants it; what a dead one held is taken over by one other."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from clsuite.runner import claims
from clsuite.runner.claims import Claims, claim_path, file_system_time, holder_of

LONG_AGO = 3600.0


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "ncm" / "seed0-0123456789ab.json"


@pytest.fixture
def ours() -> Iterator[Claims]:
    with Claims() as held:
        yield held


def make_old(record: Path, seconds: float = LONG_AGO) -> None:
    """Let all heartbeats of a run be long ago."""
    then = file_system_time(record.parent) - seconds
    for path in files(record):
        os.utime(path, (then, then))


def files(record: Path) -> list[Path]:
    """All that claims have left beside a record, hidden files too."""
    return sorted(path for path in record.parent.iterdir() if "claim" in path.name)


def of_another_machine(record: Path) -> None:
    """Let the end of the chain be a process elsewhere, of which nothing but its heartbeat is known."""
    (path,) = (path for path in files(record) if not path.name.startswith("."))
    first, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(
        json.dumps({**json.loads(first), "home": "elsewhere", "host": "node7", "pid": 4}).encode() + b"\n" + rest
    )


def test_one_has_a_run_until_it_gives_it_back(record: Path, ours: Claims) -> None:
    with Claims() as theirs:
        assert ours.take(record)
        assert not theirs.take(record)
        assert not ours.take(record)
        holder = holder_of(record)
        assert holder is not None
        assert (holder.pid, holder.is_gone) == (os.getpid(), False)
        ours.release(record)
        assert files(record) == []
        assert holder_of(record) is None
        assert theirs.take(record)
    assert files(record) == []  # given back at the end


def test_a_claim_without_heartbeat_is_taken_over_and_its_owner_learns_so(record: Path, ours: Claims) -> None:
    assert ours.take(record)
    of_another_machine(record)
    with Claims(stale_after=60) as theirs:
        make_old(record, 50)
        assert not theirs.take(record)
        make_old(record, 70)
        assert theirs.take(record)
        ours._renew(record, ours._held[record])
        assert ours.is_lost(record)
        assert not theirs.is_lost(record)
        ours.release(record)  # what is no longer its own stays
        holder = holder_of(record)
        assert holder is not None
        assert holder.host != "node7"
        with Claims() as third:
            assert not third.take(record)
    assert files(record) == []


def test_an_owner_learns_of_a_takeover_that_has_ended_already(record: Path, ours: Claims) -> None:
    assert ours.take(record)
    ours._renew(record, ours._held[record])
    assert not ours.is_lost(record)
    of_another_machine(record)
    make_old(record)
    with Claims() as theirs:
        assert theirs.take(record)
    assert files(record) == []
    ours._renew(record, ours._held[record])
    assert ours.is_lost(record)


def test_a_folder_that_is_away_takes_no_run_from_its_owner(record: Path, ours: Claims) -> None:
    assert ours.take(record)
    record.parent.rename(record.parent.with_name("away"))
    ours._renew(record, ours._held[record])
    assert not ours.is_lost(record)
    record.parent.with_name("away").rename(record.parent)


def test_a_date_in_the_future_holds_no_run_forever(record: Path, ours: Claims) -> None:
    assert ours.take(record)
    of_another_machine(record)
    make_old(record, -LONG_AGO)
    with Claims() as theirs:
        assert theirs.take(record)


def test_a_heartbeat_is_heard(record: Path) -> None:
    with Claims(stale_after=0.6) as held:
        assert held.take(record)
        held.report_progress(record, {"kind": "progress", "task": 2, "tasks": 5, "done": 0.5, "loss": 1.0})
        begun = holder_of(record)
        time.sleep(1.0)
        with Claims(stale_after=0.6) as theirs:
            assert not theirs.take(record)
        now = holder_of(record)
    assert begun is not None
    assert now is not None
    assert now.beat > begun.beat
    assert now.progress == {"task": 2, "tasks": 5, "done": 0.5}


def test_of_many_takers_one_wins(record: Path, ours: Claims) -> None:
    """Forty times: a free run, and one whose owner is silent, each wanted by sixteen at once."""
    with ThreadPoolExecutor(16) as threads:
        for number in range(40):
            if number % 2:
                assert ours.take(record)
                of_another_machine(record)
                make_old(record)
            takers = [Claims() for _ in range(16)]
            barrier = threading.Barrier(16)

            def take(one: Claims, barrier: threading.Barrier = barrier) -> bool:
                barrier.wait()
                return one.take(record)

            won = [one for one, has in zip(takers, threads.map(take, takers), strict=True) if has]
            assert len(won) == 1
            ours.release(record)
            won[0].release(record)
            assert files(record) == []


@pytest.mark.slow
def test_takers_and_givers_at_once_never_share_a_run(record: Path) -> None:
    """Eight threads take and give back without a pause; no two have the run at the same time."""
    record.parent.mkdir()
    inside, most, turns = [0], [0], [0]
    lock = threading.Lock()

    def work() -> None:
        mine, end = Claims(), time.monotonic() + 2
        while time.monotonic() < end:
            if not mine.take(record):
                continue
            with lock:
                inside[0] += 1
                most[0], turns[0] = max(most[0], inside[0]), turns[0] + 1
            with lock:
                inside[0] -= 1
            mine.release(record)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert turns[0] > 8
    assert files(record) == []


def test_one_that_looked_before_the_run_was_given_back_gets_nothing(
    record: Path, ours: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It makes the file that it saw missing, which by then hangs on nothing; a third may have the run already."""
    third, late = Claims(), Claims()
    assert ours.take(record)
    make_old(record)
    usual = claims._make

    def meanwhile(path: Path, root: Path, released: bool = False) -> object:
        monkeypatch.setattr(claims, "_make", usual)
        ours.release(record)
        assert third.take(record)
        return usual(path, root, released)

    monkeypatch.setattr(claims.Holder, "is_gone", property(lambda holder: True))
    monkeypatch.setattr(claims, "_make", meanwhile)
    assert not late.take(record)
    monkeypatch.undo()
    assert holder_of(record) is not None
    third.release(record)
    assert files(record) == []


def test_while_a_claim_is_removed_nobody_takes_the_run(
    record: Path, ours: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is taken then would hang on files that go away, and a third could take the run as well."""
    others, taken = Claims(), []
    usual = claims._remove

    def meanwhile(path: Path) -> None:
        if not path.name.startswith("."):
            taken.append(others.take(record))
        usual(path)

    assert ours.take(record)
    monkeypatch.setattr(claims, "_remove", meanwhile)
    ours.release(record)
    monkeypatch.undo()
    assert taken == [False, True]  # before its first file is removed, and after that
    others.release(record)
    assert files(record) == []


def test_whoever_slept_while_giving_back_removes_nothing(
    record: Path, ours: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, now = claims._make, time.time()

    def slept(path: Path, root: Path, released: bool = False) -> object:
        monkeypatch.setattr(time, "time", lambda: now + LONG_AGO)
        return usual(path, root, released)

    assert ours.take(record)
    monkeypatch.setattr(claims, "_make", slept)
    ours.release(record)
    monkeypatch.undo()
    assert len(files(record)) == 2
    assert holder_of(record) is None
    for path in record.parent.iterdir():
        os.utime(path, (now - LONG_AGO, now - LONG_AGO))
    assert Claims().take(record)


def test_what_a_killed_process_of_this_machine_held_is_free_at_once(record: Path, ours: Claims) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from clsuite.runner.claims import Claims\n"
        "assert Claims().take(Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(record)], check=False)
    assert done.returncode == -9
    assert len(files(record)) == 1
    assert ours.take(record)


def test_of_processes_of_other_people_only_the_heartbeat_counts(
    record: Path, ours: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system may hide them, so that they look as if they were gone."""
    assert ours.take(record)
    monkeypatch.setattr(claims, "_born", lambda pid: "")
    holder = holder_of(record)
    assert holder is not None
    assert holder.is_gone
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    holder = holder_of(record)
    assert holder is not None
    assert not holder.is_gone


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"token": "../../x"}', b"\xff", b"[" * 4000])
def test_a_claim_that_cannot_be_read_is_held_until_it_is_old(record: Path, ours: Claims, content: bytes) -> None:
    record.parent.mkdir()
    claim_path(record).write_bytes(content)
    assert not ours.take(record)
    make_old(record)
    assert ours.take(record)
    ours.release(record)
    assert files(record) == []


def test_a_claim_that_others_may_not_read_is_held_until_it_is_old(
    record: Path, ours: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> object:
        raise PermissionError(errno.EACCES, "not yours", str(path)) if path == claim_path(record) else FileNotFoundError

    assert Claims().take(record)
    monkeypatch.setattr(claims, "open_regular", refuse)
    assert not ours.take(record)
    make_old(record)
    assert [one.token for one in claims._chain(claim_path(record))] == [claims.NO_TOKEN]
    assert ours._is_free(claims._chain(claim_path(record))[0], claim_path(record))


def test_claims_that_name_each_other_in_a_circle_end(record: Path, ours: Claims) -> None:
    record.parent.mkdir()
    first, second = "a" * 16, "b" * 16
    root = claim_path(record)
    root.write_text(json.dumps({"token": first}))
    root.with_name(f"{root.name}.{first}").write_text(json.dumps({"token": second}))
    root.with_name(f"{root.name}.{second}").write_text(json.dumps({"token": first}))
    assert not ours.take(record)


def test_where_there_are_no_hard_links_one_wins_too(
    record: Path, ours: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert ours.take(record)
    assert not Claims().take(record)
    ours.release(record)
    assert files(record) == []


def test_a_link_that_was_made_although_the_server_says_that_it_is_there_is_ours(
    record: Path, ours: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = os.link

    def repeated(source: Path, target: Path) -> None:
        usual(source, target)
        raise FileExistsError(errno.EEXIST, "asked twice")

    monkeypatch.setattr(os, "link", repeated)
    assert ours.take(record)


def test_a_folder_that_takes_no_files_has_no_claims(tmp_path: Path, ours: Claims) -> None:
    (tmp_path / "ncm").write_text("a file")
    assert ours.take(tmp_path / "ncm" / "seed0-0123456789ab.json")


def test_a_number_that_another_process_has_now_is_not_the_owner(record: Path, ours: Claims) -> None:
    assert ours.take(record)
    holder = holder_of(record)
    assert holder is not None
    assert not holder.is_gone
    assert replace(holder, born="1").is_gone


@pytest.mark.parametrize("said", ['{"task": "a", "tasks": null, "done": [1], "device": 3}', "[1]"])
def test_progress_of_another_kind_is_none(record: Path, ours: Claims, said: str) -> None:
    assert ours.take(record)
    path = claim_path(record)
    first = json.loads(path.read_bytes().split(b"\n", 1)[0])
    path.write_text(json.dumps({**first, "since": 10**400}) + f"\n{said}\n")
    holder = holder_of(record)
    assert holder is not None
    assert (dict(holder.progress), holder.since) == ({}, 0)
