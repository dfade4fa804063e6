"""`clsuite.compare`: two methods seed by seed, from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clsuite.api.result import RunResult
from clsuite.errors import InputWarning, warn_of
from clsuite.records import RunRecord
from clsuite.report import compare as comparing
from clsuite.report.compare import Comparison, only_seeds
from clsuite.report.gather import method_below, one_method

Runs = str | Path | RunResult | Sequence[RunResult]


def compare(first: Runs, second: Runs, *, runs: str | Path | None = None, seeds: Sequence[int] = ()) -> Comparison:
    """Compare two methods over the seeds that both ran; print the result for a verdict in words.

    Args:
        first: A record, a folder of one method's runs, or results of `run`; with `runs` the name of a method.
        second: The other method, in the same forms.
        runs: A folder of runs. Of several runs of one method and seed the newest is used, with a warning.
        seeds: Compare these seeds only; all by default.

    Raises:
        UserError: If something is missing or the two cannot be compared.
    """
    folder = None if runs is None else Path(runs)
    return comparing.compare(*(only_seeds(_records(side, folder), str(side), seeds) for side in (first, second)))


def _records(source: Runs, runs: Path | None) -> list[RunRecord]:
    if isinstance(source, RunResult):
        return [source.record]
    if not isinstance(source, str | Path):
        return [result.record for result in source]
    found = one_method(Path(source)) if runs is None else method_below(runs, str(source))
    for line in found.left_out:
        warn_of(line, InputWarning)
    return sorted(found.records.values(), key=lambda record: record.seed)
