"""A submission to a leaderboard: a branch with records only, and the text of its pull request."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from clsuite.board.headline import headline_of
from clsuite.board.layout import Leaderboard
from clsuite.board.publish import Outcome, StreamCheck, add_records
from clsuite.board.validate.record import read_foreign
from clsuite.errors import UserError
from clsuite.records import RunRecord
from clsuite.records.canonical import sha256_of
from clsuite.records.order import seed_name
from clsuite.report.export import by_benchmark, markdown_lines, markdown_text
from clsuite.report.format import counted, kind_of
from clsuite.report.summary import summarize
from clsuite.report.table import figure_text

PREFIX = "records/"
"""Beginning of the branches of submissions, by which workflows know them."""
CHECKED = """\
Only records and their index are changed. `clsuite leaderboard submit` has checked each record as `leaderboard add`
does: its key, its counts against its predictions, its costs against its plugins, and its stream against that of other
rows{}.
After a merge, `clsuite leaderboard build` makes tables and pages. To repeat a row:
`clsuite leaderboard rerun {}`."""

STATES_LINE = "States: "
"""Beginning of the line of the text that says where states are, by which the workflow finds them."""


@dataclass(frozen=True)
class Submission:
    """What is submitted.

    Attributes:
        outcomes: The outcome of each record.
        branch: The branch; empty if there is nothing to submit.
        title: The title of the pull request, and the first line of the commit.
        text: The text of the pull request, and of the commit.
        files: The changed files, relative to the repository.
    """

    outcomes: tuple[Outcome, ...]
    branch: str = ""
    title: str = ""
    text: str = ""
    files: tuple[str, ...] = ()


def submit_records(
    places: Sequence[Path],
    place: Leaderboard,
    stream: StreamCheck,
    plugins_from: Sequence[Path] = (),
    compared: bool = False,
    dry_run: bool = False,
    states: str = "",
) -> Submission:
    """Make a branch with records, beside what is checked out, which does not change.

    No branch is made if a record is refused, or if all are published already.

    Args:
        places: Records, or folders with records at any depth.
        place: The leaderboard, in a clone of its repository; records are added to its last commit.
        stream: Checks a record's stream against the data.
        plugins_from: Folders of methods that are files.
        compared: Whether streams are compared with the data.
        dry_run: Make no branch.
        states: Where the states of the runs are, for their audit: an address or a path; empty if it is not said.

    Raises:
        UserError: If the leaderboard is not in a repository, the branch exists, git fails, or `states` is given and a
            record commits to none.
    """
    top = Path(_git(place.folder, "rev-parse", "--show-toplevel").strip())
    inside = place.folder.resolve().relative_to(top.resolve())
    with _beside(top) as copy:
        there = Leaderboard(copy / inside)
        outcomes = tuple(add_records(places, there, False, False, stream, plugins_from))
        names = {item.name for item in outcomes if item.verdict in ("added", "replaced")}
        if not names or any(item.verdict == "refused" for item in outcomes):
            return Submission(outcomes)
        kept = [str(path.relative_to(copy)) for path in (there.records, there.index)]
        _git(copy, "add", "--", *kept)
        files = tuple(_git(copy, "diff", "--cached", "--name-only", "-z").strip("\0").split("\0"))
        records = [record for file in files if (record := _record(copy / file))]
        _refuse_no_commitment(records, states)
        made = _described(outcomes, records, files, compared, states)
        if not dry_run:
            _commit(top, copy, made)
    return made


def _record(path: Path) -> RunRecord | None:
    """The record in a file; None if it is another file."""
    other = path.suffix != ".json" or path.name.endswith(".rerun.json") or path.parent.parent.parent.name != "records"
    return None if other or not path.exists() else read_foreign(path)


def _refuse_no_commitment(records: Sequence[RunRecord], states: str) -> None:
    """Check that states are of records that commit to them, and that where they are fits into a line.

    Raises:
        UserError: If not.
    """
    if states and not (states.isprintable() and states.strip() == states):
        raise UserError("--states must be an address or a path, in one line")
    if states and (bare := next((record for record in records if record.states is None), None)):
        raise UserError(
            f"'{bare.benchmark}/{bare.method}/{seed_name(bare)}' commits to no states: run it with --keep-states, or "
            "leave out --states"
        )


def _described(
    outcomes: tuple[Outcome, ...],
    records: Sequence[RunRecord],
    files: tuple[str, ...],
    compared: bool,
    states: str,
) -> Submission:
    """The branch, the title and the text of a submission."""
    benchmarks = sorted({record.benchmark for record in records})
    methods = {record.method for record in records}
    digest = sha256_of(sorted(record.key for record in records))[:8]
    title = f"Records: {counted(len(records), 'run')} of {counted(len(methods), 'method')} on {', '.join(benchmarks)}"
    some = records[0]
    checks = CHECKED.format(
        ", and against the data" if compared else "", f"'{some.benchmark}/{some.method}/{some.seed}'"
    )
    where = ["", f"{STATES_LINE}{states}"] if states else []
    text = "\n".join([*_tables(records), *_machines(records), "", checks, *where])
    return Submission(outcomes, f"{PREFIX}{'-'.join(benchmarks)[:60]}-{digest}", title, text, files)


def _tables(records: Sequence[RunRecord]) -> Iterator[str]:
    """A table for each benchmark: its methods with the figure by which they are ranked."""
    for benchmark, group in by_benchmark(records).items():
        summary = summarize(group)
        column = summary.columns[headline_of(group[0].scenario.kind)]
        lines = [
            [markdown_text(row.method), ", ".join(map(str, row.seeds)), figure_text(row.figures[column.name], column)]
            for row in summary.rows
        ]
        yield from markdown_lines([markdown_text(benchmark), "seeds", f"{column.label}, %"], lines, left=(0, 1))
        yield ""


def _machines(records: Sequence[RunRecord]) -> list[str]:
    """Where the runs were made."""
    kinds = sorted({kind_of(record.environment) for record in records})
    return ["Made on " + "; ".join(f"{machine} in {precision}" for machine, precision in kinds) + "."]


@contextmanager
def _beside(top: Path) -> Iterator[Path]:
    """The last commit of a repository in a temporary folder, without a branch."""
    with TemporaryDirectory(prefix="clsuite-submit-") as temporary:
        copy = Path(temporary) / "copy"
        _git(top, "worktree", "add", "--quiet", "--detach", str(copy), "HEAD")
        try:
            yield copy
        finally:
            _git(top, "worktree", "remove", "--force", str(copy))


def _commit(top: Path, copy: Path, made: Submission) -> None:
    """Commit what is staged, and give the commit its branch.

    Raises:
        UserError: If the branch exists, or git knows no author.
    """
    if _git(top, "branch", "--list", made.branch).strip():
        raise UserError(
            f"branch '{made.branch}' is there already: these records were submitted; delete it to start anew"
        )
    _git(copy, "commit", "--quiet", "--message", f"{made.title}\n\n{made.text}")
    _git(copy, "branch", made.branch)


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=True)
    except OSError as error:
        raise UserError(f"git cannot be called: {error.strerror or error}") from error
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode("utf-8", "replace").strip().splitlines()
        said = next((line for line in reason if line.startswith("fatal")), reason[-1] if reason else "")
        raise UserError(f"git {words[0]} failed in '{folder}': {said or f'status {error.returncode}'}") from error
    return done.stdout.decode("utf-8", "replace")
