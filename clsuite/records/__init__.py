"""Run records: reading results needs no torch."""

from clsuite.records.failure import bounded, place_of, reason_of
from clsuite.records.record import (
    SCHEMA_VERSION,
    CostEntry,
    CountsEntry,
    CurveEntry,
    FeaturesEntry,
    PluginEntry,
    ProbeEntry,
    RunRecord,
    ScenarioEntry,
    TaskEntry,
    TrialEntry,
    TuningEntry,
    WithinTaskEntry,
)
from clsuite.records.rescore import rescore
from clsuite.records.store import (
    RecordError,
    atomic_path,
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
    "why_untrue",
    "write_predictions",
    "write_record",
]
