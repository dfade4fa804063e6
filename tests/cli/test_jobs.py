"""Jobs that go on without the command: after Ctrl-C they are cancelled if the user says so."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from clsuite.cli.console import make_console
from clsuite.cli.jobs import ask_to_cancel
from clsuite.records import RunRecord
from clsuite.runner.checks import Failure
from clsuite.runner.plan import RunPlan
from clsuite.runner.pool import Pool


class Jobs:
    """An executor whose jobs go on."""

    def __init__(self) -> None:
        self.cancelled = 0

    def check(self, plans: Sequence[RunPlan]) -> Mapping[str, Failure]:
        return {}

    def run(self, runs: Any, listener: Any, failures: Mapping[str, Failure]) -> dict[Path, RunRecord]:
        return {}

    def submit(self, plans: Sequence[RunPlan]) -> None:
        pass

    def cancel(self) -> None:
        self.cancelled += 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("answer", "cancelled", "told"),
    [("y\n", 1, "the jobs are canceled"), ("\n", 0, "the jobs continue"), ("no\n", 0, "the jobs continue"),
     ("", 0, "the jobs continue")],
)  # fmt: skip
def test_at_a_terminal_the_user_is_asked(
    answer: str, cancelled: int, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    jobs = Jobs()
    ask_to_cancel(make_console(), jobs)
    assert jobs.cancelled == cancelled
    printed = capsys.readouterr().out
    assert "cancel the jobs that were submitted? [y/N]" in printed
    assert told in printed


def test_elsewhere_jobs_go_on_and_other_executors_have_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    jobs = Jobs()
    ask_to_cancel(make_console(), jobs)
    assert jobs.cancelled == 0
    assert capsys.readouterr().out == "the jobs continue; the same command shows their progress\n"
    ask_to_cancel(make_console(), Pool(["cpu"]))
    assert capsys.readouterr().out == ""
