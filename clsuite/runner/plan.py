"""The plan: which runs a benchmark asks for, each with its key. Made without torch, so that it is quick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from clsuite.backbones.spec import Weights, find_weights
from clsuite.data.datasets import load_table
from clsuite.data.spec import DatasetSpec
from clsuite.errors import UserError, did_you_mean
from clsuite.learner.options import TrainingSpec
from clsuite.plugin.arguments import resolve_arguments
from clsuite.plugin.catalog import PluginInfo, catalog, find_plugin
from clsuite.plugin.compose import check_method
from clsuite.records import PluginEntry, RunRecord, ScenarioEntry
from clsuite.runner.methods import MethodSpec, parse_method, split_outside
from clsuite.runner.needs import check_needs
from clsuite.runner.spec import BenchmarkSpec
from clsuite.scenarios import Scenario, build_scenario


@dataclass(frozen=True)
class RunOptions:
    """What the command line decides about a benchmark.

    Attributes:
        out: Folder for everything that is written.
        data_root: Where relative data paths are looked for.
        methods: Methods to run instead of the benchmark's.
        seeds: Seeds to run instead of the benchmark's.
        training: Overrides of the benchmark's training, such as ``{"epochs": 1}``.
        limit_tasks: Only the first tasks of the stream.
        device: ``auto``, ``cpu``, ``cuda``, ...
        save_model: Keep the trained model beside the record.
    """

    out: Path
    data_root: Path | None = None
    methods: Sequence[str] = ()
    seeds: Sequence[int] = ()
    training: Mapping[str, Any] | None = None
    limit_tasks: int | None = None
    device: str = "auto"
    save_model: bool = False


@dataclass(frozen=True)
class RunPlan:
    """One run: all that a worker needs to do it.

    Attributes:
        pending: The record as far as it is known before the run (status ``interrupted``).
        plugins: Where the classes of ``pending.plugins`` are found.
        weights: The backbone's weights.
        dataset: The data set, with the path as the benchmark gives it.
        record_path: Where the record goes; predictions, checkpoint, model and log go beside it.
    """

    pending: RunRecord
    plugins: tuple[PluginInfo, ...]
    weights: Weights
    dataset: DatasetSpec
    record_path: Path
    data_root: Path | None
    device: str
    save_model: bool

    @property
    def name(self) -> str:
        """What people call the run."""
        return f"{self.pending.method}, seed {self.pending.seed}"

    def beside(self, suffix: str) -> Path:
        """A file beside the record."""
        return self.record_path.with_suffix(suffix)


def make_plan(spec: BenchmarkSpec, folder: Path, options: RunOptions) -> list[RunPlan]:
    """Plan all runs of a benchmark.

    Args:
        spec: The benchmark.
        folder: The folder of its YAML file, where relative weights are looked for too.
        options: What the command line decides.

    Raises:
        UserError: If anything in it cannot be: unknown names, mistyped values, absent data, bad pairs of plugins.
    """
    methods = {name: _resolve(spec, method) for name, method in _chosen_methods(spec, options).items()}
    for plugins, training in methods.values():
        named = [(info.name, info.source) for info, _ in plugins if info.source]
        check_method(named, spec.scenario.kind)
        check_needs(named, spec.backbone, training)
    root = options.data_root
    weights = find_weights(spec.backbone, [folder] if root is None else [root, folder])
    table = load_table(spec.dataset, spec.backbone.image_size, root)
    plans: list[RunPlan] = []
    for seed in dict.fromkeys(options.seeds or spec.seeds):
        scenario = build_scenario(table, spec.scenario, seed, spec.dataset.train_per_class)
        scenario = scenario.first(options.limit_tasks) if options.limit_tasks else scenario
        for name, (plugins, training) in methods.items():
            training = _override(training, options.training or {}, "the command line")
            try:
                pending = _pending(spec, options, scenario, name, seed, plugins, training, weights)
            except (TypeError, ValueError) as error:  # a value that JSON has not
                raise UserError(
                    f"method '{name}' has a value that no record can hold (such as .inf): {error}"
                ) from error
            path = options.out / spec.name / _file_name(name) / f"seed{seed}-{pending.key[:12]}.json"
            infos = tuple(info for info, _ in plugins)
            if any(plan.record_path == path for plan in plans):
                raise UserError(f"two methods would write '{path}': give '{name}' another name")
            plans.append(RunPlan(pending, infos, weights, spec.dataset, path, root, options.device, options.save_model))
    return plans


ResolvedPlugins = list[tuple[PluginInfo, dict[str, Any]]]


def _chosen_methods(spec: BenchmarkSpec, options: RunOptions) -> dict[str, MethodSpec]:
    if not options.methods:
        return spec.methods
    chosen = {}
    for name in (part for text in options.methods for part in split_outside(text, ",")):
        chosen[name] = spec.methods[name] if name in spec.methods else parse_method(name)
        for use in chosen[name].plugins:
            if use.name not in catalog():
                raise did_you_mean("plugin", use.name, {*catalog(), *spec.methods})
    if not chosen:
        raise UserError("--methods names no method")
    return chosen


def _resolve(spec: BenchmarkSpec, method: MethodSpec) -> tuple[ResolvedPlugins, TrainingSpec]:
    plugins = []
    for use in method.plugins:
        info, source = find_plugin(use.name)
        plugins.append((info, resolve_arguments(use.name, source, use.args)))
    return plugins, _override(spec.training, method.training, f"method with '{method.plugins[0].name}'")


def _override(training: TrainingSpec, changes: Mapping[str, Any], where: str) -> TrainingSpec:
    merged = _merge(training.model_dump(), changes)
    try:
        return TrainingSpec.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise did_you_mean(f"training key of {where}:", key, TrainingSpec.model_fields) from error
        raise UserError(f"training.{key} of {where} is {first['input']!r}: {first['msg']}") from error


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        inner = merged.get(key)
        merged[key] = _merge(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return merged


def _pending(
    spec: BenchmarkSpec,
    options: RunOptions,
    scenario: Scenario,
    method: str,
    seed: int,
    plugins: ResolvedPlugins,
    training: TrainingSpec,
    weights: Weights,
) -> RunRecord:
    config = _config(spec, options, training, weights)
    entries = [
        PluginEntry(
            name=info.name, args=args, source=info.source.sha256 if info.source else "", distribution=info.distribution
        )
        for info, args in plugins
    ]
    return RunRecord(
        key=RunRecord.make_key(config, entries, seed, scenario.fingerprint),
        benchmark=spec.name,
        method=method,
        seed=seed,
        status="interrupted",
        config=config,
        plugins=entries,
        scenario=ScenarioEntry(
            kind=scenario.kind,
            fingerprint=scenario.fingerprint,
            task_fingerprints=[task.fingerprint for task in scenario.tasks],
            task_names=[task.name for task in scenario.tasks],
            classes=list(scenario.classes),
        ),
    )


def _config(spec: BenchmarkSpec, options: RunOptions, training: TrainingSpec, weights: Weights) -> dict[str, Any]:
    """The resolved configuration as the record keeps it: no paths."""
    dataset = spec.dataset.model_dump()
    dataset["path"] = Path(spec.dataset.path).name if spec.dataset.path else None
    return {
        "dataset": dataset,
        "scenario": spec.scenario.model_dump(),
        "limit_tasks": options.limit_tasks,
        "backbone": {
            "name": spec.backbone.name,
            "image_size": spec.backbone.image_size,
            "weights": weights.kind,
            "sha256": weights.sha256,
            **({"templates": list(spec.backbone.prompts)} if spec.backbone.prompts else {}),
        },
        "training": training.model_dump(),
    }


def _file_name(method: str) -> str:
    return "".join(character if character.isalnum() or character in "+-_.=," else "_" for character in method)
