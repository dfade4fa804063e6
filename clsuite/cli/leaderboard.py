"""`clsuite leaderboard`: publishes records, makes the pages, and checks that nothing is wrong, stale or lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from clsuite.api.progress import BenchProgress
from clsuite.cli.console import make_console
from clsuite.cli.data_progress import loading_bar
from clsuite.errors import UserError
from clsuite.records import RunRecord, predictions_beside, reason_of
from clsuite.report.format import counted

if TYPE_CHECKING:
    from clsuite.board.layout import Leaderboard
    from clsuite.board.model import Rerun
    from clsuite.board.publish import Outcome
    from clsuite.board.validate.streams import Streams
    from clsuite.runner.plan import RunPlan
    from clsuite.runner.recorded_inputs import Allowed


def add(
    places: Sequence[Path],
    folder: Path,
    data_root: Path | None,
    replace: bool,
    stale: bool,
    plugins_from: Sequence[Path] = (),
) -> int:
    """Publish records; returns 1 if one was refused.

    Raises:
        UserError: If a place or the data root does not exist, or what is already published is not valid.
    """
    from clsuite.board.layout import Leaderboard
    from clsuite.board.publish import add_records
    from clsuite.board.validate.streams import Streams

    _refuse_no_folder(data_root)
    console, warnings = make_console(), make_console(stderr=True)
    streams = Streams(data_root)
    with loading_bar(warnings):
        outcomes = add_records(places, Leaderboard(folder), replace, stale, streams.judge, plugins_from)
    _print_outcomes(places, outcomes, streams)
    numbers = Counter(item.verdict for item in outcomes)
    summary = ", ".join(f"{number} {verdict}" for verdict, number in sorted(numbers.items()))
    then = f"; now: clsuite leaderboard build --folder {folder}" if len(outcomes) > numbers["refused"] else ""
    console.print(f"{summary}{then}", soft_wrap=True)
    return 1 if numbers["refused"] else 0


def _print_outcomes(places: Sequence[Path], outcomes: Sequence[Outcome], streams: Streams) -> None:
    """Print what became of each record.

    Raises:
        UserError: If there is none.
    """
    console, warnings = make_console(), make_console(stderr=True)
    for item in outcomes:
        what = item.name or str(item.path)
        if item.verdict == "refused":
            see = f" (see {item.path})" if item.name else ""
            warnings.print(f"refused: {what}: {item.reason}{see}", soft_wrap=True)
        else:
            reason = f": {item.reason}" if item.reason else ""
            console.print(f"{item.verdict}: {what}{reason}", soft_wrap=True)
    for benchmark, reason in sorted(streams.unchecked.items()):
        warnings.print(f"note: streams of {benchmark} were not compared with the data: {reason}", soft_wrap=True)
    for (what, benchmark), reason in sorted(streams.images_unchecked.items()):
        warnings.print(f"note: {what} of {benchmark} were not compared: {reason}", soft_wrap=True)
    if not outcomes:
        raise UserError(f"no record in {', '.join(repr(str(place)) for place in places)}")


def submit(
    places: Sequence[Path],
    folder: Path,
    data_root: Path | None,
    plugins_from: Sequence[Path],
    dry_run: bool,
    states: str = "",
) -> int:
    """Make a branch with records for a pull request, and print its text; returns 1 if a record was refused.

    Raises:
        UserError: If there is no record, the leaderboard is not in a git repository, or git fails.
    """
    from clsuite.board.layout import Leaderboard
    from clsuite.board.submit import submit_records
    from clsuite.board.validate.streams import Streams

    _refuse_no_folder(data_root)
    if not folder.is_dir():
        raise UserError(
            f"there is no leaderboard '{folder}': run this in a clone of its repository, or name it: --folder"
        )
    streams = Streams(data_root)
    with loading_bar(make_console(stderr=True)):
        made = submit_records(
            places, Leaderboard(folder), streams.judge, plugins_from, data_root is not None, dry_run, states
        )
    _print_outcomes(places, made.outcomes, streams)
    if any(item.verdict == "refused" for item in made.outcomes):
        make_console(stderr=True).print("no branch was made: leave the refused records out, or run them again")
        return 1
    console = make_console()
    if not made.branch:
        console.print("nothing to submit: all records are published already")
        return 0
    console.print(f"\n{made.title}\n\n{made.text}\n", soft_wrap=True, markup=False, highlight=False)
    done = "would be made" if dry_run else "made"
    then = "" if dry_run else f"; now: git push origin {made.branch}, and open a pull request with this text"
    console.print(f"branch {made.branch} {done}, with {counted(len(made.files), 'file')}{then}", soft_wrap=True)
    return 0


def _refuse_no_folder(data_root: Path | None) -> None:
    if data_root is not None and not data_root.is_dir():
        raise UserError(f"--data-root '{data_root}' is not a folder")


def build(folder: Path, drop: Sequence[str]) -> int:
    """Make all files from the records.

    Raises:
        UserError: If a record is not valid, or a row was lost.
    """
    from clsuite.board import files
    from clsuite.board.layout import Leaderboard

    board, changed = files.build(Leaderboard(folder), drop)
    methods = sum(len(benchmark.rows) for benchmark in board.benchmarks)
    runs = sum(len(row.runs) for benchmark in board.benchmarks for row in benchmark.rows)
    make_console().print(
        f"{counted(len(board.benchmarks), 'benchmark')}, {counted(methods, 'row')}, {counted(runs, 'record')}, "
        f"{counted(len(board.reported), 'reported figure')}; {counted(changed, 'file')} changed: "
        f"{folder / 'README.md'}, {folder / 'site' / 'index.html'}",
        soft_wrap=True,
    )
    return 0


def check(folder: Path) -> int:
    """Check that all files are what the records give; returns 1 with a line for each that is not.

    Raises:
        UserError: If the folder does not exist.
    """
    from clsuite.board import files
    from clsuite.board.layout import Leaderboard

    place = Leaderboard(folder)
    files.refuse_missing(place)
    try:
        problems = files.check(place)
    except UserError as error:
        problems = str(error).splitlines()
    for line in problems:
        make_console(stderr=True).print(line, soft_wrap=True)
    if not problems:
        make_console().print(f"{folder}: every file is what the records give, and no row is lost")
    return 1 if problems else 0


def rerun(
    rows: Sequence[str],
    folder: Path,
    data_root: Path | None,
    device: str | None,
    benchmark: str | None,
    allowed: Allowed,
    dry_run: bool = False,
) -> int:
    """Repeat published runs and write the results; returns 1 if one has a different result.

    If one of several rows cannot be repeated, it is reported and counts as different, and the others are repeated.

    Raises:
        UserError: If a row is unknown, the data root does not exist, or the only run cannot be repeated here.
    """
    from clsuite.board.layout import Leaderboard
    from clsuite.board.rerun import find_rows

    _refuse_no_folder(data_root)
    place = Leaderboard(folder)
    found, bad = find_rows(place, rows), 0
    if dry_run or len(found) > 1:
        _print_rows([row for row, _ in found], dry_run)
    if dry_run:
        return 0
    for number, (row, path) in enumerate(found, 1):
        try:
            bad += not _rerun_row(place, row, path, data_root, device, benchmark, allowed, (number, len(found)))
        except UserError as error:
            if len(found) == 1:
                raise
            make_console(stderr=True).print(f"not repeated: {row}: {error}", soft_wrap=True)
            bad += 1
    make_console().print(f"now: clsuite leaderboard build --folder {folder}", soft_wrap=True)
    return 1 if bad else 0


def _print_rows(rows: Sequence[str], whole: bool) -> None:
    """Print the number of runs before the first one starts."""
    console = make_console()
    for row in rows if whole else ():
        console.print(row, soft_wrap=True)
    console.print("1 run" if len(rows) == 1 else f"{len(rows)} runs, one after another")


def confirm(rows: Sequence[str], folder: Path, data_root: Path | None, jobs: int | None) -> int:
    """Check whether stale rows would give the same results; returns 1 if one stays stale.

    Raises:
        UserError: If a row or method is unknown, or a number or folder is not valid.
    """
    from clsuite.cli import confirm as confirming

    _refuse_no_folder(data_root)
    if jobs is not None and jobs < 1:
        raise UserError(f"--jobs is {jobs}, but must be at least 1")
    return confirming.confirm(rows, folder, data_root, jobs)


def _rerun_row(
    place: Leaderboard,
    row: str,
    path: Path,
    data_root: Path | None,
    device: str | None,
    benchmark: str | None,
    allowed: Allowed,
    number: tuple[int, int],
) -> bool:
    """Repeat a row, print the result, and write it; returns whether both succeeded."""
    from clsuite.board.confirmed import read_confirmed
    from clsuite.board.rerun import changed_stream, compare_rerun, kinds_apart, plan_rerun, stream_changed
    from clsuite.board.validate.record import examine, read_foreign

    old = read_foreign(path)
    if problem := examine(old, predictions_beside(path, old)).problem:
        raise UserError(f"'{path}' is not as its run left it: {problem}")
    with loading_bar(make_console(stderr=True)):
        changed = stream_changed(old, data_root)
    apart = ""
    if changed:
        outcome = changed_stream(old, "none: its stream could not be made")
    else:
        plan = partial(
            plan_rerun, old, data_root=data_root, device=device, benchmark=benchmark,
            confirmed=read_confirmed(place.confirmed), allowed=allowed, published=path,
        )  # fmt: skip
        new = _repeat(old, plan, number)
        outcome, apart = compare_rerun(old, new), kinds_apart(old, new)
    figures = "; ".join(f"{name}: {value:.4f}" for name, value in outcome.figures.items())
    reason = f": {changed or apart}" if changed or apart else ""
    make_console().print(f"{outcome.outcome}: {row}{reason} ({figures})", soft_wrap=True)
    written = _write_rerun(place, row, outcome, path, old, apart)
    return written and outcome.outcome not in ("different", "other stream")


def _write_rerun(place: Leaderboard, row: str, outcome: Rerun, path: Path, old: RunRecord, apart: str) -> bool:
    """Write the result of a row's rerun; returns whether that succeeded."""
    from clsuite.board.rerun import publish_rerun

    try:
        kept = publish_rerun(place, row, outcome, path, old, apart)
    except (UserError, OSError) as error:
        make_console(stderr=True).print(f"not written down: {row}: {error}", soft_wrap=True)
        return False
    if kept:
        make_console().print(f"the identical rerun of {kept.date} on {kept.machine} stays", soft_wrap=True)
    return True


def _repeat(old: RunRecord, make_plan: Callable[[Path], RunPlan], number: tuple[int, int]) -> RunRecord:
    """Repeat a run in a separate process, in a temporary folder."""
    from clsuite.runner.bench import BenchStatus, run_missing
    from clsuite.runner.devices import count_cores, count_gpus, device_slots

    console = make_console()
    with TemporaryDirectory(prefix="clsuite-rerun-") as temporary:
        target = Path(temporary) / "runs" / "rerun.json"
        plan = make_plan(target)
        slots = device_slots(plan.device, 1, old.config["training"]["threads"], count_gpus(), count_cores())
        with BenchProgress(console, 1, 0, *number) as progress:
            new = run_missing(BenchStatus([plan], {}), slots, None, progress.on_event)[target]
    if new.status != "done":
        raise UserError(f"the rerun of {old.benchmark}/{old.method}/{old.seed} {new.status}: {reason_of(new)}")
    return new
