"""`clsuite leaderboard audit`: checks submitted records by learning a sample of their tasks again."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from clsuite.cli.console import make_console
from clsuite.cli.data_progress import loading_bar
from clsuite.config.spec import LARGEST_SEED
from clsuite.errors import UserError, bearable
from clsuite.report.format import counted

if TYPE_CHECKING:
    from clsuite.board.audit.audit import Audit
    from clsuite.runner.options import AuditOptions
    from clsuite.runner.plan import RunPlan
    from clsuite.runner.recorded_inputs import Allowed


def audit(
    places: Sequence[Path],
    folder: Path,
    states: Path | None,
    data_root: Path | None,
    device: str | None,
    allowed: Allowed,
    options: AuditOptions,
) -> int:
    """Audit records; returns 1, with a line for each discrepancy, if they are refuted.

    Args:
        places: Records, or folders with records at any depth.
        folder: The leaderboard, which knows the earlier sources that give the same counts.
        states: The folder with the states of the runs.
        data_root: Folder of data and weights.
        device: The device; by default the kind that the runs were made on.
        allowed: What the records may cause to be executed or downloaded.
        options: How much is repeated.

    Raises:
        UserError: If there is no record, one has no states, or a run cannot be repeated here.
    """
    from clsuite.board.audit.audit import Audit
    from clsuite.board.audit.audit import audit as audit_states
    from clsuite.board.audit.sample import Wish
    from clsuite.board.audit.submission import Submitted, read_submission
    from clsuite.board.confirmed import read_confirmed
    from clsuite.board.layout import Leaderboard
    from clsuite.board.rerun import plan_rerun
    from clsuite.board.validate.streams import Streams

    if data_root is not None and not data_root.is_dir():
        raise UserError(f"--data-root '{data_root}' is not a folder")
    streams, confirmed = Streams(data_root), read_confirmed(Leaderboard(folder).confirmed)
    with loading_bar(make_console(stderr=True)):
        submitted, problems = read_submission(places, states, streams.judge)
    if problems:
        return _report(Audit(refuted=problems))

    def plan(one: Submitted) -> RunPlan:
        return plan_rerun(
            one.record, one.path, data_root, device, None, confirmed, allowed, one.path, with_probes=False
        )

    seed = secrets.randbelow(LARGEST_SEED) if options.seed is None else options.seed
    wish = Wish(options.share, seed, options.images, options.steps)
    tell = partial(make_console(stderr=True).print, soft_wrap=True, markup=False, highlight=False)
    make_console().print(f"drawn with --seed {seed}, with which the audit can be repeated", soft_wrap=True)
    return _report(audit_states(submitted, plan, wish, tell))


def _report(result: Audit) -> int:
    """Print what came out of an audit; returns the exit status."""
    console, warnings = make_console(), make_console(stderr=True)
    for line in result.notes:
        warnings.print(f"note: compared within a tolerance: {line}", soft_wrap=True, markup=False)
    for line in result.refuted:
        warnings.print(f"refuted: {bearable(line)}", soft_wrap=True, markup=False, highlight=False)
    if result.sample is None:
        console.print("refuted by checks that learn nothing: no task was learned again")
        return 1
    whole = counted(len(result.sample.tasks), "task")
    console.print(
        f"learned again: {whole}, and the beginning of {len(result.sample.starts)}; predicted again: "
        f"{sum(map(len, result.sample.images.values()))} images of {len(result.sample.images)} evaluations",
        soft_wrap=True,
    )
    console.print(
        f"cost: {100 * result.share:.1f} % of rerunning all ({result.cost:.0f} of {result.whole:.0f} samples with a "
        f"gradient; a forward pass counts a third); {result.seconds:.0f} s (the runs: {result.run_seconds:.0f} s)",
        soft_wrap=True,
    )
    lines = len(result.refuted)
    found = f"refuted: {lines} {'discrepancies' if lines > 1 else 'discrepancy'}"
    console.print(found if lines else "nothing is refuted")
    return 1 if result.refuted else 0
