"""The plan of a run that has been done already, from its record: what it learned can then be watched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clsuite.backbones.spec import KEYWORDS, BackboneSpec, Weights, find_weights
from clsuite.data.spec import DatasetSpec
from clsuite.errors import UserError
from clsuite.plugin.catalog import PluginInfo, find_plugin
from clsuite.records import PluginEntry, read_record
from clsuite.records.canonical import sha256_of_file
from clsuite.runner.plan import RunPlan
from clsuite.runner.streams import find_stream_file, stream_loader
from clsuite.scenarios import ScenarioSpec

SUFFIXES = (".safetensors", ".npz", ".bin", ".pt", ".pth")


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
        reason = (record.error or "it has no result").strip().splitlines()[-1]
        raise UserError(f"'{path}' is not a finished run but {record.status}: {reason}")
    config = {key: value for key, value in record.config.items() if key != "evaluation"}
    folders = [Path()] if data_root is None else [data_root, Path()]
    plugins = tuple(_plugin(entry, folders) for entry in record.plugins)
    dataset = DatasetSpec.model_validate(config["dataset"]) if config["dataset"] else None
    scenario = find_stream_file(ScenarioSpec.model_validate(config["scenario"]), folders)
    found = _weights(config["backbone"], folders, weights)
    load = stream_loader(dataset, scenario, config["backbone"]["image_size"], data_root)
    if load(record.seed, config["limit_tasks"]).fingerprint != record.scenario.fingerprint:
        raise UserError(f"the data found are not those that '{path}' was learned from: say --data-root FOLDER")
    pending = record.model_copy(update={"status": "interrupted", "config": config, "counts": None, "predictions": None})
    return RunPlan(pending, plugins, found, dataset, scenario, path, data_root, device, save_model=False)


def _plugin(entry: PluginEntry, folders: list[Path]) -> PluginInfo:
    info, source = find_plugin(entry.name, folders)
    if source.sha256 != entry.source:
        raise UserError(
            f"plugin '{entry.name}' has changed since the run (source {entry.source[:12]}, now {source.sha256[:12]}): "
            f"bring the version of {entry.distribution} back, or run the benchmark again"
        )
    return info


def _weights(backbone: dict[str, Any], folders: list[Path], given: Path | None) -> Weights:
    """The weights that the run started from: by keyword, or the file with their hash."""
    if backbone["weights"] in KEYWORDS:
        return find_weights(BackboneSpec(name=backbone["name"], weights=backbone["weights"]), folders)
    files = [given] if given else [f for folder in folders for f in sorted(folder.glob("*")) if f.suffix in SUFFIXES]
    for file in files:
        if file.is_file() and sha256_of_file(file) == backbone["sha256"]:
            return Weights("file", file, backbone["sha256"])
    where = f"'{given}' has not" if given else f"no file in {' or '.join(repr(str(folder)) for folder in folders)} has"
    raise UserError(
        f"the run started from weights of '{backbone['name']}' with sha256 {backbone['sha256'][:12]}, and {where} it: "
        "say --weights FILE or --data-root FOLDER"
    )
