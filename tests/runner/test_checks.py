"""The check before the runs, with processes that only say what real ones would."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from typing import Any, cast

import pytest

from clsuite.errors import UserError
from clsuite.runner import checks
from clsuite.runner.checks import Failure, check_methods
from clsuite.runner.plan import RunPlan
from clsuite.runner.processes import LOST, ForkServer, Worker


@dataclass
class Process:
    """A process that has ended."""

    exitcode: int | None = 0
    pid: int = 0
    sentinel: int = 0

    def kill(self) -> None: ...

    def join(self, timeout: float | None = None) -> None: ...


@dataclass(frozen=True)
class Pending:
    method: str


@dataclass(frozen=True)
class Plan:
    recipe: str

    @property
    def pending(self) -> Pending:
        return Pending(self.recipe)


@dataclass
class Server:
    """Starts processes that check methods one after the other, as some of them behave.

    Attributes:
        behavior: By method: a text that it refuses with, a status with which it ends the process, or seconds that it
            takes; others are well.
        after: Methods that leave something behind which ends the process when the next one is checked.
        checked: What each process was asked to check.
    """

    behavior: dict[str, str | int | float] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    stream: str = ""
    checked: list[list[str]] = field(default_factory=list)

    def start(self, _: Any, plans: Sequence[Plan]) -> Worker:
        ours, theirs = Pipe()
        process = Process()
        self.checked.append([plan.recipe for plan in plans])

        def check() -> None:
            with suppress(BrokenPipeError):  # it was not waited for
                process.exitcode = self.all(plans, theirs)
            theirs.close()

        thread = threading.Thread(target=check, daemon=True)
        thread.start()
        return Worker(cast(Any, process), ours, time.monotonic())

    def all(self, plans: Sequence[Plan], theirs: Any) -> int:
        if self.stream:
            theirs.send({"kind": "refused", "recipe": "", "text": self.stream})
            return 0
        for number, plan in enumerate(plans):
            theirs.send({"kind": "at", "recipe": plan.recipe, "own": False})
            does = self.behavior.get(plan.recipe, "")
            if number and plans[number - 1].recipe in self.after:
                return 7
            theirs.send({"kind": "at", "recipe": plan.recipe, "own": True})
            if isinstance(does, float):
                time.sleep(does)
            elif isinstance(does, int):
                return does
            elif does:
                theirs.send({"kind": "refused", "recipe": plan.recipe, "text": does})
        theirs.send({"kind": "end"})
        return 0


def check(server: Server, methods: str, timeout: float | None = None) -> dict[str, Failure]:
    plans = [Plan(method) for method in methods.split()]
    return check_methods(cast(ForkServer, server), cast(list[RunPlan], plans), timeout, {})


def test_methods_that_are_well_are_checked_by_one_process() -> None:
    server = Server()
    assert check(server, "a b a c") == {}
    assert server.checked == [["a", "b", "a", "c"]]


def test_a_method_that_ends_the_process_fails_alone_by_name() -> None:
    server = Server({"b": 3, "d": -11})
    failures = check(server, "a b c d e")
    assert set(failures) == {"b", "d"}
    assert failures["b"].status == failures["d"].status == "failed"
    assert "exited with status 3 and wrote no result" in failures["b"].reason
    assert "ended by SIGSEGV" in failures["d"].reason
    assert server.checked[-1] == ["e"]


@pytest.mark.parametrize("behavior", [0, 1])
def test_a_process_that_ends_early_has_failed_whatever_its_status(behavior: int) -> None:
    assert set(check(Server({"a": behavior}), "a b")) == {"a"}


def test_a_method_that_hangs_fails_alone_in_the_time_of_a_run() -> None:
    server = Server({"b": 30.0})
    started = time.monotonic()
    failures = check(server, "a b c", timeout=0.2)
    assert time.monotonic() - started < 10
    assert failures == {"b": Failure("timeout", "its check before the runs was stopped after 0.2 s")}
    assert server.checked == [["a", "b", "c"], ["c"]]


def test_a_method_that_hangs_has_a_limit_without_one_for_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CHECK_SECONDS", 0.2)
    for timeout in (None, 5000.0):
        assert set(check(Server({"b": 30.0}), "a b c", timeout)) == {"b"}


def test_the_time_of_the_backbone_is_not_that_of_the_method() -> None:
    class Loads(Server):
        def all(self, plans: Sequence[Plan], theirs: Any) -> int:
            theirs.send({"kind": "at", "recipe": "a", "own": True})
            theirs.send({"kind": "at", "recipe": "a", "own": False})
            time.sleep(0.6)
            theirs.send({"kind": "end"})
            return 0

    assert check(Loads(), "a", timeout=0.2) == {}


def test_what_one_leaves_behind_is_not_laid_to_the_next() -> None:
    server = Server(after=("a",))
    assert check(server, "a b c") == {}
    assert server.checked == [["a", "b", "c"], ["b", "c"]]


def test_a_fork_server_that_is_killed_is_no_fault_of_a_method() -> None:
    class Killed(Server):
        def all(self, plans: Sequence[Plan], theirs: Any) -> int:
            theirs.send({"kind": "at", "recipe": "a", "own": True})
            if len(self.checked) == 1:
                return LOST
            theirs.send({"kind": "end"})
            return 0

    server = Killed()
    assert check(server, "a b") == {}
    assert server.checked == [["a", "b"], ["a", "b"]]


@pytest.mark.parametrize(
    ("behavior", "expected"),
    [
        ({"b": "b is wrong"}, ["b is wrong"]),
        ({"b": "same", "c": "same"}, ["same"]),
        (
            {"b": "b is wrong", "c": "c too", "d": "c too"},
            ["b: b is wrong", "c, d: c too"],
        ),
        (
            {"b": "b is wrong", "c": 5},
            ["b: b is wrong", "c: its check before the runs ended: the process "
             "exited with status 5 and wrote no result"],
        ),
    ],
)  # fmt: skip
def test_all_that_methods_refuse_is_told_before_any_run(behavior: dict[str, Any], expected: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        check(Server(behavior), "a b c d")
    assert str(caught.value).split("\n") == expected


def test_a_stream_that_cannot_be_made_is_told_once() -> None:
    with pytest.raises(UserError, match="no data"):
        check(Server(stream="no data"), "a b")


def test_a_process_that_ends_before_any_method_is_told() -> None:
    class Dies(Server):
        def all(self, plans: Sequence[Plan], theirs: Any) -> int:
            return -9

    with pytest.raises(UserError, match=r"the check of the benchmark crashed: .*SIGKILL \(out of memory\?\)"):
        check(Dies(), "a b")
