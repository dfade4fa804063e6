"""`clsuite leaderboard confirm`: runs canaries with earlier sources and with the current ones, and compares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from clsuite.api.progress import BenchProgress
from clsuite.board.confirm import (
    Case,
    by_commit,
    chosen_rows,
    confirmation_of,
    find_cases,
    old_canaries,
    plan_new,
    problem_of,
    write_old_benchmark,
)
from clsuite.board.confirmed import Confirmations, confirmed_bytes, read_confirmed
from clsuite.board.files import refuse_missing
from clsuite.board.history import bench_there, check_out, project_folder
from clsuite.board.index import read_index
from clsuite.board.layout import Leaderboard
from clsuite.board.rerun import find_rows
from clsuite.board.validate.record import read_foreign
from clsuite.cli.console import make_console
from clsuite.errors import UserError
from clsuite.records import RunRecord, atomic_path
from clsuite.runner.bench import BenchStatus, run_missing
from clsuite.runner.devices import count_cores, device_slots
from clsuite.runner.plan import RunPlan

ROWS_SHOWN = 3


def confirm(wanted: Sequence[str], folder: Path, data_root: Path | None, jobs: int | None) -> int:
    """Confirm stale rows whose method still gives the same counts; returns 1 if one stays stale.

    Raises:
        UserError: If a row or method is unknown, or the leaderboard is not valid.
    """
    place = Leaderboard(folder)
    refuse_missing(place)
    rows = chosen_rows(read_index(place), wanted)
    paths = find_rows(place, rows) if rows else []
    cases, reasons = find_cases({row: read_foreign(path) for row, path in paths}, read_confirmed(place.confirmed))
    for reason, without in reasons.items():
        _print_reason(without, reason)
    work = _Work(place, project_folder(), data_root, jobs)
    for batch in by_commit(cases):
        work.confirm(batch)
    stale = sum(len(without) for without in reasons.values()) + work.stale
    current = len(rows) - stale - work.confirmed
    make_console().print(
        f"{work.confirmed} rows confirmed, {stale} stay stale, {current} were current"
        + (f"; now: clsuite leaderboard build --folder {folder}" if work.confirmed else ""),
        soft_wrap=True,
    )
    return 1 if stale else 0


def _print_reason(rows: Sequence[str], reason: str) -> None:
    """Print in a line why rows stay stale."""
    more = f" and {len(rows) - ROWS_SHOWN} more" if len(rows) > ROWS_SHOWN else ""
    text = f"stale: {', '.join(rows[:ROWS_SHOWN])}{more}: {reason}"
    make_console(stderr=True).print(text, soft_wrap=True)


@dataclass
class _Work:
    """Runs canaries, and writes down what they prove.

    Attributes:
        place: The leaderboard.
        project: The folder whose history has the earlier sources.
        data_root: Folder of the data.
        jobs: Number of simultaneous runs; by default as many as the cores allow.
        done: Canaries of the current sources, by their key, because several cases may need the same.
        confirmed: Number of confirmed rows.
        stale: Number of rows that stay stale.
    """

    place: Leaderboard
    project: Path
    data_root: Path | None
    jobs: int | None
    done: dict[str, RunRecord] = field(default_factory=dict)
    confirmed: int = 0
    stale: int = 0

    def confirm(self, cases: Sequence[Case]) -> None:
        """Confirm cases of one commit; a problem with them is reported, and does not affect other commits."""
        with TemporaryDirectory(prefix="clsuite-confirm-") as temporary:
            try:
                old = self._run_old(cases, Path(temporary))
            except UserError as error:
                for case in cases:
                    self._stays(case, str(error))
                return
            new, refused = self._run_new(old, Path(temporary) / "now")
        for case in cases:
            method = case.record.method
            if reason := refused.get(method) or problem_of(case, old.get(method), new.get(method)):
                self._stays(case, reason)
            else:
                self._note(case, old[method], new[method])

    def _stays(self, case: Case, reason: str) -> None:
        self.stale += len(case.rows)
        _print_reason(case.rows, reason)

    def _note(self, case: Case, old: RunRecord, new: RunRecord) -> None:
        """Write down at once what two canaries prove."""
        with self.place.locked():
            known: Confirmations = read_confirmed(self.place.confirmed).with_entry(confirmation_of(case, old, new))
            with atomic_path(self.place.confirmed) as temporary:
                temporary.write_bytes(confirmed_bytes(known))
        self.confirmed += len(case.rows)
        text = f"confirmed: {case.record.method}: {case.name} gives the same counts ({len(case.rows)} rows)"
        make_console().print(text, soft_wrap=True)

    def _run_old(self, cases: Sequence[Case], folder: Path) -> dict[str, RunRecord]:
        """The canaries with the sources of the cases' commit, by method."""
        site, out = folder / "site", folder / "then"
        site.mkdir()
        check_out(cases[0].commit, self.project, site)
        self._print(f"{len(cases)} canaries on {cases[0].canary} by the sources of {cases[0].commit[:9]}")
        self._bench_old(cases, site, out)
        return old_canaries(out)

    def _bench_old(self, cases: Sequence[Case], site: Path, out: Path) -> None:
        """Run them together, or one by one if there is a problem, so that it affects its own case only."""
        path = site / "canaries.yaml"
        write_old_benchmark(cases, site, path)
        known = 0

        def on_progress(number: int) -> None:
            nonlocal known
            if number > known:
                self._print(f"  {number} of {len(cases)} done")
            known = number

        try:
            bench_there(site, path, out, self.data_root, self.jobs, on_progress)
        except UserError:
            if len(cases) == 1:
                raise
            for case in cases:
                with suppress(UserError):
                    self._bench_old([case], site, out / "alone")
            for record in (out / "alone").glob("*/*/*.json"):
                target = out / record.relative_to(out / "alone")
                target.parent.mkdir(parents=True, exist_ok=True)
                record.rename(target)

    def _run_new(self, old: Mapping[str, RunRecord], out: Path) -> tuple[dict[str, RunRecord], dict[str, str]]:
        """The canaries with the current sources, by method, and why some methods are refused."""
        plans: dict[str, RunPlan] = {}
        refused: dict[str, str] = {}
        for method, record in old.items():
            if record.status != "done":
                continue
            try:
                plans[method] = plan_new(record, out, self.data_root)
            except UserError as error:
                refused[method] = f"the sources of now refuse its canary: {error}"
        missing = {plan.pending.key: plan for plan in plans.values() if plan.pending.key not in self.done}
        if missing:
            self._print(f"{len(missing)} canaries by the sources of now")
            refused |= self._bench_new(list(missing.values()))
        return {name: self.done[p.pending.key] for name, p in plans.items() if p.pending.key in self.done}, refused

    def _bench_new(self, plans: list[RunPlan]) -> dict[str, str]:
        """Run plans together, or one by one if one is refused; returns the reasons by method."""
        slots = device_slots("cpu", self.jobs, plans[0].pending.config["training"]["threads"], 0, count_cores())
        try:
            with BenchProgress(make_console(), len(plans), 0) as progress:
                outcomes = run_missing(BenchStatus(plans, {}), slots, None, progress.on_event)
        except UserError as error:
            if len(plans) == 1:
                return {plans[0].pending.method: f"the sources of now refuse its canary: {error}"}
            return {method: why for plan in plans for method, why in self._bench_new([plan]).items()}
        for plan in plans:
            self.done[plan.pending.key] = outcomes[plan.record_path]
        return {}

    @staticmethod
    def _print(text: str) -> None:
        make_console().print(text, soft_wrap=True)
