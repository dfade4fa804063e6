"""Run records. Reading results needs no torch, and hashing a source imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clsuite.lazy import imported_on_use

if TYPE_CHECKING:
    from clsuite.records.atomic import atomic_path
    from clsuite.records.entries import (
        CostEntry,
        CountsEntry,
        CurveEntry,
        FeaturesEntry,
        PluginEntry,
        ProbeEntry,
        ScenarioEntry,
        StateEntry,
        TaskEntry,
        TrialEntry,
        TuningEntry,
        WithinTaskEntry,
    )
    from clsuite.records.failure import bounded, place_of, reason_of
    from clsuite.records.record import SCHEMA_VERSION, RunRecord
    from clsuite.records.rescoring import rescore, row_digest
    from clsuite.records.store import (
        RecordError,
        read_predictions,
        read_record,
        record_text,
        write_predictions,
        write_record,
    )
    from clsuite.records.verify import predictions_beside, refuse_other_key, why_untrue

__all__ = [
    "SCHEMA_VERSION",
    "CostEntry",
    "CountsEntry",
    "CurveEntry",
    "FeaturesEntry",
    "PluginEntry",
    "ProbeEntry",
    "RecordError",
    "RunRecord",
    "ScenarioEntry",
    "StateEntry",
    "TaskEntry",
    "TrialEntry",
    "TuningEntry",
    "WithinTaskEntry",
    "atomic_path",
    "bounded",
    "place_of",
    "predictions_beside",
    "read_predictions",
    "read_record",
    "reason_of",
    "record_text",
    "refuse_other_key",
    "rescore",
    "row_digest",
    "why_untrue",
    "write_predictions",
    "write_record",
]

LAZY = {
    "SCHEMA_VERSION": "clsuite.records.record",
    "CostEntry": "clsuite.records.entries",
    "CountsEntry": "clsuite.records.entries",
    "CurveEntry": "clsuite.records.entries",
    "FeaturesEntry": "clsuite.records.entries",
    "PluginEntry": "clsuite.records.entries",
    "ProbeEntry": "clsuite.records.entries",
    "RecordError": "clsuite.records.store",
    "RunRecord": "clsuite.records.record",
    "ScenarioEntry": "clsuite.records.entries",
    "StateEntry": "clsuite.records.entries",
    "TaskEntry": "clsuite.records.entries",
    "TrialEntry": "clsuite.records.entries",
    "TuningEntry": "clsuite.records.entries",
    "WithinTaskEntry": "clsuite.records.entries",
    "atomic_path": "clsuite.records.atomic",
    "bounded": "clsuite.records.failure",
    "place_of": "clsuite.records.failure",
    "predictions_beside": "clsuite.records.verify",
    "read_predictions": "clsuite.records.store",
    "read_record": "clsuite.records.store",
    "reason_of": "clsuite.records.failure",
    "record_text": "clsuite.records.store",
    "refuse_other_key": "clsuite.records.verify",
    "rescore": "clsuite.records.rescoring",
    "row_digest": "clsuite.records.rescoring",
    "why_untrue": "clsuite.records.verify",
    "write_predictions": "clsuite.records.store",
    "write_record": "clsuite.records.store",
}
"""The module of each name."""


__getattr__ = imported_on_use(__name__, LAZY)
