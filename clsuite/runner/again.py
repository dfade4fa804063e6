"""The plan of a run that has been done already, from its record: what it learned can then be watched."""

from __future__ import annotations

from pathlib import Path

from clsuite.data.spec import DatasetSpec
from clsuite.errors import UserError
from clsuite.records import read_record, reason_of
from clsuite.runner.plan import RunPlan
from clsuite.runner.restored import folders_of, known_benchmarks, restored_plugin, restored_weights
from clsuite.runner.streams import find_stream_file, stream_loader
from clsuite.scenarios import ScenarioSpec


def plan_again(
    path: Path, *, data_root: Path | None = None, weights: Path | None = None, device: str = "auto"
) -> RunPlan:
    """Plan the run of a record once more, without its probes and its evaluation within tasks, which change nothing.

    Args:
        path: The record.
        data_root: Where its data, weights and files are looked for, besides the current folder.
        weights: The file of the backbone's weights, where they are not found by their content.
        device: Where to compute.

    Raises:
        UserError: If the run did not end well, or what it was made of is not there any more; says what.
    """
    record = read_record(path)
    if record.status != "done":
        raise UserError(f"'{path}' is not a finished run but {record.status}: {reason_of(record)}")
    config = {key: value for key, value in record.config.items() if key != "evaluation"}
    plugins = tuple(restored_plugin(entry, folders_of(data_root)) for entry in record.plugins)
    dataset = DatasetSpec.model_validate(config["dataset"]) if config["dataset"] else None
    scenario = find_stream_file(ScenarioSpec.model_validate(config["scenario"]), folders_of(data_root))
    mend = "say --weights FILE or --data-root FOLDER"
    found = restored_weights(config["backbone"], data_root, known_benchmarks(), weights, mend)
    load = stream_loader(dataset, scenario, config["backbone"]["image_size"], data_root)
    if load(record.seed, config["limit_tasks"]).fingerprint != record.scenario.fingerprint:
        raise UserError(f"the data found are not those that '{path}' was learned from: say --data-root FOLDER")
    pending = record.model_copy(update={"status": "interrupted", "config": config, "counts": None, "predictions": None})
    return RunPlan(pending, plugins, found, dataset, scenario, path, data_root, device, save_model=False)
