"""Checks that a record is unchanged: its key follows from its content, and its counts from its predictions."""

from __future__ import annotations

from pathlib import Path

from clsuite.records.record import RunRecord
from clsuite.records.rescoring import rescore
from clsuite.records.store import RecordError, read_predictions

COUNTED = ("class_incremental", "task_aware", "open_vocabulary", "n", "learned")
"""What of a record's counts follows from its predictions."""


def predictions_beside(path: Path, record: RunRecord) -> Path:
    """The file beside a record with its predictions."""
    return path.with_name(Path(record.predictions or "").name or path.with_suffix(".npz").name)


def why_untrue(record: RunRecord, path: Path) -> str:
    """Why a record must not be trusted; empty if it can be, or has no counts.

    Its other content (costs, readings of probes, curves within tasks) is not proved by any file beside it, only by a
    rerun.

    Args:
        record: The record.
        path: Its file; the predictions are beside it.
    """
    if record.results_version() is None:
        return "was edited: its key does not follow from its content"
    if record.counts is None:
        return ""
    try:
        counted = rescore(read_predictions(predictions_beside(path, record)))
    except RecordError as error:
        return f"cannot be checked: {error}"
    except (ValueError, KeyError, IndexError) as error:
        return f"cannot be checked: its predictions cannot be counted: {error}"
    differing = [name for name in COUNTED if getattr(counted, name) != getattr(record.counts, name)]
    return f"was edited: counts.{differing[0]} does not follow from its predictions" if differing else ""


def refuse_other_key(record: RunRecord, path: Path) -> None:
    """Check that a record's key is that of its content.

    Raises:
        RecordError: If it is not.
    """
    if record.results_version() is None:
        raise RecordError(f"the record '{path}' was edited: its key does not follow from its content")
