"""The resolved configuration of a run as stored in its record: what determines the result, without paths."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clsuite.backbones.spec import Weights
from clsuite.backbones.templates import BY_DATASET
from clsuite.config.class_use import class_entry
from clsuite.data.class_names import known_as
from clsuite.data.fingerprint import table_fingerprint
from clsuite.data.sequence import parts_of
from clsuite.errors import did_you_mean
from clsuite.learner.options import TrainingSpec
from clsuite.probes.images import load_probe_images
from clsuite.probes.named import load_named_table
from clsuite.probes.spec import AnyProbe, ZeroShotProbe
from clsuite.records.canonical import sha256_of
from clsuite.runner.options import RunOptions
from clsuite.runner.resolve import ResolvedPlugins
from clsuite.runner.spec import BenchmarkSpec
from clsuite.runner.training import leaves
from clsuite.scenarios import Scenario
from clsuite.stream.within_task_spec import EvaluationSpec


def run_config(spec: BenchmarkSpec, options: RunOptions, training: TrainingSpec, weights: Weights) -> dict[str, Any]:
    """The resolved configuration as stored in the record, without paths."""
    return {
        **stream_config(spec, options.limit_tasks),
        "backbone": {
            "name": spec.backbone.name,
            "image_size": spec.backbone.image_size,
            "normalization": spec.backbone.normalization,
            "weights": weights.kind,
            "sha256": weights.sha256,
            **({"templates": _templates(spec)} if spec.backbone.prompts else {}),
            **(class_entry(spec.backbone.own) if spec.backbone.own else {}),
        },
        "training": training.recorded(),
        **evaluation_config(spec, options),
        **({"judged_on": "validation"} if options.on_validation else {}),
    }


def _templates(spec: BenchmarkSpec) -> list[str] | dict[str, list[str]]:
    """The templates of the benchmark's data sets.

    Raises:
        UserError: If templates are given for a data set that the benchmark does not have.
    """
    prompts = spec.backbone.prompts
    if isinstance(prompts, tuple):
        return list(prompts)
    if spec.dataset is None:
        return {name: list(templates) for name, templates in prompts.items()}
    present = [known_as(part) for part in parts_of(spec.dataset)]
    for name in prompts:
        if name not in present and prompts[name] not in (sets.get(name) for sets in BY_DATASET.values()):
            raise did_you_mean("data set in backbone.templates:", name, present)
    return {name: list(prompts[name]) for name in dict.fromkeys(present) if name in prompts}


def names_in_prompts(scenario: Scenario) -> str:
    """Hash of what prompts call all classes, whatever the order of the stream."""
    table = scenario.table
    return sha256_of(sorted([name, *spoken] for name, spoken in zip(table.classes, table.class_names, strict=True)))


def tasks_learned(spec: BenchmarkSpec, limit_tasks: int | None = None) -> int | None:
    """Number of tasks that are learned, by the call or the benchmark; None stands for all."""
    return spec.limit_tasks if limit_tasks is None else limit_tasks


def stream_config(spec: BenchmarkSpec, limit_tasks: int | None = None) -> dict[str, Any]:
    """The stream as stored in a record; files only by their names."""
    return {
        "dataset": without_path(spec.dataset.model_dump()) if spec.dataset else None,
        "scenario": without_path(spec.scenario.model_dump()),
        "limit_tasks": tasks_learned(spec, limit_tasks),
    }


def evaluation_config(spec: BenchmarkSpec, options: RunOptions) -> dict[str, Any]:
    """The evaluation within tasks; no entry at all without it, so that the keys of other runs do not change."""
    evaluation = spec.evaluation.model_dump() if spec.evaluation else {}
    if options.eval_every is not None:
        evaluation = EvaluationSpec.model_validate({**evaluation, "every": options.eval_every}).model_dump()
    return {"evaluation": evaluation} if evaluation else {}


def probe_config(probe: AnyProbe, image_size: int, data_root: Path | None) -> dict[str, Any]:
    """A probe with the fingerprint of its images instead of their path."""
    content = probe.model_dump()
    if probe.at == "every_task":
        del content["at"]  # so that entries of older records still match
    if isinstance(probe, ZeroShotProbe):
        named = load_named_table(probe, image_size, data_root)
        sources = {"dataset": without_path(content["dataset"])} if probe.dataset else {}
        kept = {key: value for key, value in content.items() if key not in ("path", "names", "dataset")}
        return {**kept, **sources, "templates": list(probe.templates), "fingerprint": named.fingerprint}
    if "path" in content:
        images = load_probe_images(content.pop("path"), image_size, data_root)
        content["fingerprint"] = table_fingerprint(images)
    return content


def without_path(spec: dict[str, Any]) -> dict[str, Any]:
    """The specification of a data set or stream, with files only by their names."""
    shown = dict(spec)
    if shown.get("path"):
        shown["path"] = Path(shown["path"]).name
    if "parts" in shown:
        shown["parts"] = [without_path(part) for part in shown["parts"]]
    return shown


def unrecordable(config: Mapping[str, Any], plugins: ResolvedPlugins) -> str:
    """The first value that a record cannot store because JSON cannot represent it; empty if there is none."""
    places: dict[str, Any] = {f"argument '{{}}' of plugin '{info.name}'": args for info, args in plugins}
    for place, values in {**places, "training.{}": config.get("training", {}), "{}": config}.items():
        for key, value in leaves(values).items():
            if not isinstance(value, str | int | float | None | bool | list | tuple) or (
                isinstance(value, float) and not math.isfinite(value)
            ):
                return f"{place.format(key)} is {value!r}, which no record can hold"
    return ""
