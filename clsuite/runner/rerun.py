"""The plan of a finished run, made from its record, to repeat and observe it."""

from __future__ import annotations

from pathlib import Path

from clsuite.errors import UserError
from clsuite.records import RunRecord, read_record, reason_of, refuse_other_key
from clsuite.runner.own_classes import recorded_files
from clsuite.runner.plan import RunPlan
from clsuite.runner.recorded_inputs import (
    NOTHING,
    Allowed,
    known_benchmarks,
    restored_plugin,
    restored_stream,
    restored_weights,
)
from clsuite.runner.streams import recorded_stream, stream_loader


def plan_from_record(
    path: Path,
    *,
    data_root: Path | None = None,
    weights: Path | None = None,
    device: str = "auto",
    allowed: Allowed = NOTHING,
) -> RunPlan:
    """Plan to repeat the run of a record, without probes and evaluation within tasks, which do not affect the result.

    Args:
        path: The record.
        data_root: Folder of its data and weights, besides the current folder.
        weights: The file of the backbone's weights, if they cannot be found by their content.
        device: The device.
        allowed: What the record is allowed to cause.

    Raises:
        UserError: If the run is not finished, was edited, or any of its inputs is missing; says which.
    """
    record = _finished(path)
    config = {key: value for key, value in record.config.items() if key != "evaluation"}
    try:
        dataset, scenario = restored_stream(record, allowed.download)
        plugins = tuple(restored_plugin(entry, allowed.plugins_from) for entry in record.plugins)
        scenario = recorded_stream(scenario, allowed.plugins_from)
        fix = "give --weights FILE or --data-root FOLDER"
        files = recorded_files(config, allowed.plugins_from)
        found = restored_weights(config["backbone"], data_root, known_benchmarks(), weights, fix, allowed.download)
        load = stream_loader(dataset, scenario, config["backbone"]["image_size"], data_root, files)
        fingerprint = load(record.seed, config["limit_tasks"]).fingerprint
    except (KeyError, TypeError, ValueError) as error:  # a foreign record may contain anything
        raise UserError(f"'{path}' is not a record of clsuite: {type(error).__name__}: {error}") from error
    if fingerprint != record.scenario.fingerprint:
        raise UserError(f"the data found are not those that '{path}' was trained on: give --data-root FOLDER")
    pending = record.model_copy(update={"status": "interrupted", "config": config, "counts": None, "predictions": None})
    return RunPlan(pending, plugins, found, dataset, scenario, path, data_root, device, False, files=files)


def _finished(path: Path) -> RunRecord:
    """The record of a run that finished and was not edited."""
    record = read_record(path)
    if record.status != "done":
        raise UserError(f"'{path}' is not a finished run but {record.status}: {reason_of(record)}")
    refuse_other_key(record, path)
    return record
