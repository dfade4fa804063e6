"""The plan: which runs a benchmark asks for, each with its key. Made without torch, so that it is quick."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from clsuite.backbones.spec import Weights, find_weights
from clsuite.data.datasets import beside, path_beside
from clsuite.data.fingerprint import table_fingerprint
from clsuite.data.spec import DatasetSpec
from clsuite.errors import InputWarning, UserError, shortened, warn_of
from clsuite.learner.options import TrainingSpec
from clsuite.plugin.arguments import resolve_arguments
from clsuite.plugin.catalog import PluginInfo, catalog, find_plugin, is_ours, unknown_plugin
from clsuite.plugin.compatibility import Named, check_method
from clsuite.plugin.introspection import PluginSource
from clsuite.plugin.loading import is_file, is_importable
from clsuite.plugin.misspelled_hooks import doubts
from clsuite.probes.images import load_probe_images
from clsuite.probes.named import load_named_table
from clsuite.probes.spec import AnyProbe, ZeroShotProbe
from clsuite.records import PluginEntry, RunRecord, ScenarioEntry, bounded
from clsuite.records.canonical import sha256_of
from clsuite.runner.grid import expand_grid
from clsuite.runner.methods import MethodSpec, parse_method, parse_named, split_outside
from clsuite.runner.options import RunOptions
from clsuite.runner.requirements import (
    check_buffers,
    check_classes,
    check_merging,
    check_needs,
    check_probes,
    check_rests,
)
from clsuite.runner.spec import BenchmarkSpec, MethodsError
from clsuite.runner.streams import find_stream_file, stream_loader
from clsuite.runner.training import brought_training, leaves, resolve_training
from clsuite.scenarios import Scenario, ScenarioSpec, check_single_pass
from clsuite.scenarios.validation import judged_on_validation
from clsuite.stream.within_task_spec import CURVE_POINTS, EvaluationSpec

LONGEST_FOLDER = 255
"""Bytes of the name of a folder, as many as the usual file systems take."""


@dataclass(frozen=True)
class RunPlan:
    """One run: all that a worker needs to do it.

    Attributes:
        pending: The record as far as it is known before the run (status ``interrupted``).
        plugins: Where the classes of ``pending.plugins`` are found.
        weights: The backbone's weights.
        dataset: The data set, with the path as the benchmark gives it; None for a stream made with Avalanche.
        scenario: The stream, with the whole path of its Python file where it has one.
        record_path: Where the record goes; predictions, checkpoint, model and log go beside it.
        probes: What is read beside the accuracy matrix.
        brought: What of the training the method's plugins bring, by dotted key.
        curve_points: Points of the curves of training that are kept for each task.
    """

    pending: RunRecord
    plugins: tuple[PluginInfo, ...]
    weights: Weights
    dataset: DatasetSpec | None
    scenario: ScenarioSpec
    record_path: Path
    data_root: Path | None
    device: str
    save_model: bool
    probes: tuple[AnyProbe, ...] = ()
    brought: Mapping[str, Any] = field(default_factory=dict)
    curve_points: int = CURVE_POINTS

    @property
    def name(self) -> str:
        """What people call the run."""
        return f"{self.pending.method}, seed {self.pending.seed}"

    @property
    def recipe(self) -> str:
        """What the runs of all seeds of a method share: its name, plugins, arguments and configuration, as a hash."""
        plugins = [entry.model_dump(mode="json") for entry in self.pending.plugins]
        return sha256_of([self.pending.method, plugins, self.pending.config])

    def beside(self, suffix: str) -> Path:
        """A file beside the record."""
        return self.record_path.with_suffix(suffix)

    def whole_paths(self) -> RunPlan:
        """The plan with whole paths, which mean the same when a plugin changes the current folder."""
        root = Path.cwd() if self.data_root is None else self.data_root.expanduser().absolute()
        weights = (
            self.weights if self.weights.path is None else replace(self.weights, path=self.weights.path.absolute())
        )
        return replace(self, record_path=self.record_path.absolute(), data_root=root, weights=weights)


def failed_record(plan: RunPlan, status: Literal["failed", "timeout"], reason: str, seconds: float) -> RunRecord:
    """The record of a run that has no result."""
    return plan.pending.model_copy(update={"status": status, "error": bounded(reason), "seconds": seconds})


def make_plan(spec: BenchmarkSpec, folder: Path, options: RunOptions) -> list[RunPlan]:
    """Plan all runs of a benchmark.

    Args:
        spec: The benchmark.
        folder: The folder of its YAML file, where relative data and weights are looked for too.
        options: What the command line decides.

    Raises:
        UserError: If anything in it cannot be: unknown names, mistyped values, absent data, bad pairs of plugins.
    """
    methods = _checked_methods(spec, options, folder)
    root = options.data_root
    weights = find_weights(spec.backbone, [folder] if root is None else [root, folder])
    stream = find_stream_file(spec.scenario, [folder] if root is None else [folder, root])
    spec = placed(spec.model_copy(update={"scenario": stream}), root, folder)
    load = stream_loader(spec.dataset, stream, spec.backbone.image_size, root)
    probes = [probe_config(probe, spec.backbone.image_size, root) for probe in spec.probes]
    plans: list[RunPlan] = []
    for seed in dict.fromkeys(options.seeds or spec.seeds):
        scenario = load(seed, tasks_learned(spec, options.limit_tasks))
        if options.on_validation:
            scenario = judged_on_validation(scenario)
        for name, method in methods.items():
            check_buffers([(info.name, info.source, args) for info, args in method.plugins if info.source], scenario)
            check_classes(name, method.named, method.training, scenario)
            check_rests(name, method.named, method.training, spec.backbone, scenario)
            config: dict[str, Any] = {}
            try:
                config = {**_config(spec, options, method.training, weights), "probes": probes}
                pending = _pending(spec, config, scenario, name, seed, method.plugins)
            except (TypeError, ValueError) as error:  # a value that JSON has not
                raise UserError(f"method '{name}': {_unrecordable(config, method.plugins) or error}") from error
            path = options.out / spec.name / file_name(name) / f"seed{seed}-{pending.key[:12]}.json"
            infos = tuple(info for info, _ in method.plugins)
            if any(plan.record_path == path for plan in plans):
                raise UserError(f"two methods would write '{path}': give '{name}' another name")
            where = (spec.dataset, stream, path, root, options.device, options.save_model, spec.probes)
            plans.append(RunPlan(pending, infos, weights, *where, method.brought, options.curve_points))
    return plans


def placed(spec: BenchmarkSpec, data_root: Path | None, folder: Path) -> BenchmarkSpec:
    """The benchmark with the whole paths of data that lie beside its file; records keep their last part alone."""
    probes = []
    for probe in spec.probes:
        path = getattr(probe, "path", None)
        placed = {"path": path_beside(path, data_root, folder)} if path else {}
        probes.append(probe.model_copy(update=placed))
    dataset = beside(spec.dataset, data_root, folder) if spec.dataset else None
    return spec.model_copy(update={"dataset": dataset, "probes": type(spec.probes)(probes)})


def outline(spec: BenchmarkSpec, options: RunOptions, folder: Path = Path()) -> list[tuple[str, int]]:
    """Method and seed of every run, everything checked but data and weights, which need not be there.

    Raises:
        UserError: As `make_plan`.
    """
    methods = _checked_methods(spec, options, folder)
    return [(name, seed) for seed in dict.fromkeys(options.seeds or spec.seeds) for name in methods]


def method_config(spec: BenchmarkSpec, name: str) -> tuple[list[tuple[str, dict[str, Any]]], dict[str, Any]]:
    """Plugins with all their arguments, and the training, of one of the benchmark's methods or of one as it is written.

    Raises:
        UserError: If there is no such method, or the name stands for several.
    """
    found = _checked_methods(spec, RunOptions(methods=(name,)), Path())
    if name not in found:
        raise UserError(f"'{name}' is no name of one method: it stands for {', '.join(found)}")
    method = found[name]
    return [(info.name, args) for info, args in method.plugins], method.training.model_dump()


ResolvedPlugins = list[tuple[PluginInfo, dict[str, Any]]]


@dataclass(frozen=True)
class ResolvedMethod:
    """A method with all its arguments and its training.

    Attributes:
        plugins: Where each plugin's class is found, and all its arguments.
        training: The benchmark's, with what the plugins need and what is said of this method.
        brought: What of it the plugins bring, by dotted key.
    """

    plugins: ResolvedPlugins
    training: TrainingSpec
    brought: Mapping[str, Any]

    @property
    def named(self) -> list[Named]:
        """Name and declaration of each plugin."""
        return [(info.name, info.source) for info, _ in self.plugins if info.source]


def _checked_methods(spec: BenchmarkSpec, options: RunOptions, folder: Path) -> dict[str, ResolvedMethod]:
    check_probes(spec.probes, spec.backbone)
    checked: dict[str, ResolvedMethod] = {}
    mistakes: list[tuple[str, str]] = []
    for name, method in chosen_methods(spec, options).items():
        try:
            checked[name] = _checked(spec, method, options.training, (Path(), folder))
        except UserError as error:
            mistakes.append((name, str(error)))
    if mistakes:
        raise MethodsError(mistakes)
    return checked


def _checked(
    spec: BenchmarkSpec, method: MethodSpec, given: Mapping[str, Any], folders: Sequence[Path]
) -> ResolvedMethod:
    """A method with all its arguments, checked against the benchmark and the order of its plugins."""
    resolved = _resolve(spec, method, given, folders)
    named = resolved.named
    arguments = [args for info, args in resolved.plugins if info.source]
    for kind in spec.scenario.kinds:
        check_method(named, kind, arguments)
    check_merging([(info.name, args) for info, args in resolved.plugins], named)
    check_needs(named, spec.backbone, resolved.training)
    from_memory = any(source.traits.from_memory for _, source in named)
    check_single_pass(spec.scenario.kind, resolved.training.epochs, from_memory)
    return resolved


def chosen_methods(spec: BenchmarkSpec, options: RunOptions) -> dict[str, MethodSpec]:
    """The methods that a call asks for, by the name that tables show; grids are taken apart.

    Raises:
        UserError: If there is no such method, or two are called alike.
    """
    chosen: dict[str, MethodSpec] = {}
    if not options.methods:
        mistakes: list[tuple[str, str]] = []
        for name, method in spec.methods.items():
            try:
                _choose(chosen, expand_grid(name, method, written=False))
            except UserError as error:
                mistakes.append((name, str(error)))
        if mistakes:
            raise MethodsError(mistakes)
        return chosen
    known = spec.named_methods
    asked = [part for text in options.methods for part in split_outside(text, ",")]
    for name in (one for part in asked for one in (known if part == "all" else [part])):
        own, written = ("", name) if name in known else parse_named(name)
        if own in known:
            raise UserError(f"'{own}' is a method of the benchmark: give '{written}' another name")
        method = known[written] if written in known else parse_method(written)
        _choose(chosen, expand_grid(own or written, method, written=not own and written not in known))
        for use in method.plugins:
            if use.name not in catalog() and not is_file(use.name) and not is_importable(use.name):
                raise _unknown(use.name, spec)
    if not chosen:
        raise UserError("--methods names no method")
    return chosen


def _choose(chosen: dict[str, MethodSpec], more: Mapping[str, MethodSpec]) -> None:
    """Add methods, none of which may take the name of another one; the same method twice is one.

    Raises:
        UserError: If one takes another's name: it would be run in its place.
    """
    for name, method in more.items():
        if chosen.setdefault(name, method) != method:
            raise UserError(f"two methods are called '{shortened(name)}': give one of them another name")


def _unknown(name: str, spec: BenchmarkSpec) -> UserError:
    if re.search(r"[/\\]", name):
        return UserError(
            f"'{name}' is no plugin: a file ends in .py, and a path with '+' or ',' in it stands in quotation marks"
        )
    return unknown_plugin(name, {*catalog(), *spec.named_methods, "all"})


def _resolve(
    spec: BenchmarkSpec, method: MethodSpec, given: Mapping[str, Any], folders: Sequence[Path]
) -> ResolvedMethod:
    plugins = []
    for use in method.plugins:
        info, source = find_plugin(use.name, folders)
        _tell_doubts(info, source)
        plugins.append((info, resolve_arguments(use.name, source, use.args)))
    named = [(info.name, info.source) for info, _ in plugins if info.source]
    training = resolve_training(spec.training, named, method.training, given)
    return ResolvedMethod(plugins, training, brought_training(named, method.training, given))


def _tell_doubts(info: PluginInfo, source: PluginSource) -> None:
    """Warn of hooks that are none: the method would train as another one does, and nothing else would tell."""
    if not is_ours(info.target):
        for doubt in doubts(source.text, info.target.rpartition(":")[2], bool(source.traits.training)):
            warn_of(f"plugin '{info.name}', line {doubt.line}: {doubt.message}", InputWarning)


def _pending(
    spec: BenchmarkSpec,
    config: dict[str, Any],
    scenario: Scenario,
    method: str,
    seed: int,
    plugins: ResolvedPlugins,
) -> RunRecord:
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
            part_names=[part.name for part in scenario.separate_splits],
            classes=list(scenario.classes),
        ),
    )


def _unrecordable(config: Mapping[str, Any], plugins: ResolvedPlugins) -> str:
    """Which value no record can hold, as JSON has none such."""
    places: dict[str, Any] = {f"argument '{{}}' of plugin '{info.name}'": args for info, args in plugins}
    for place, values in {**places, "training.{}": config.get("training", {}), "{}": config}.items():
        for key, value in leaves(values).items():
            if not isinstance(value, str | int | float | None | bool | list | tuple) or (
                isinstance(value, float) and not math.isfinite(value)
            ):
                return f"{place.format(key)} is {value!r}, which no record can hold"
    return ""


def _config(spec: BenchmarkSpec, options: RunOptions, training: TrainingSpec, weights: Weights) -> dict[str, Any]:
    """The resolved configuration as the record keeps it: no paths."""
    return {
        **stream_config(spec, options.limit_tasks),
        "backbone": {
            "name": spec.backbone.name,
            "image_size": spec.backbone.image_size,
            "normalization": spec.backbone.normalization,
            "weights": weights.kind,
            "sha256": weights.sha256,
            **({"templates": list(spec.backbone.prompts)} if spec.backbone.prompts else {}),
        },
        "training": training.model_dump(),
        **evaluation_config(spec, options),
        **({"judged_on": "validation"} if options.on_validation else {}),
    }


def tasks_learned(spec: BenchmarkSpec, limit_tasks: int | None = None) -> int | None:
    """How many tasks of the stream are learned, with a number in place of the benchmark's; None is all of them."""
    return spec.limit_tasks if limit_tasks is None else limit_tasks


def stream_config(spec: BenchmarkSpec, limit_tasks: int | None = None) -> dict[str, Any]:
    """What a record says about its stream; of files their names only."""
    return {
        "dataset": _without_path(spec.dataset.model_dump()) if spec.dataset else None,
        "scenario": _without_path(spec.scenario.model_dump()),
        "limit_tasks": tasks_learned(spec, limit_tasks),
    }


def evaluation_config(spec: BenchmarkSpec, options: RunOptions) -> dict[str, Any]:
    """How to evaluate within tasks; no entry at all where nobody asks for it, so that other keys stay what they are."""
    given = spec.evaluation.model_dump() if spec.evaluation else {}
    if options.eval_every is not None:
        given = EvaluationSpec.model_validate({**given, "every": options.eval_every}).model_dump()
    return {"evaluation": given} if given else {}


def probe_config(probe: AnyProbe, image_size: int, data_root: Path | None) -> dict[str, Any]:
    """A probe with the fingerprint of its images in place of their path."""
    content = probe.model_dump()
    if probe.at == "every_task":
        del content["at"]  # so that the entries of older records are found again
    if isinstance(probe, ZeroShotProbe):
        named = load_named_table(probe, image_size, data_root)
        sources = {"dataset": _without_path(content["dataset"])} if probe.dataset else {}
        kept = {key: value for key, value in content.items() if key not in ("path", "names", "dataset")}
        return {**kept, **sources, "templates": list(probe.templates), "fingerprint": named.fingerprint}
    if "path" in content:
        images = load_probe_images(content.pop("path"), image_size, data_root)
        content["fingerprint"] = table_fingerprint(images)
    return content


def _without_path(spec: dict[str, Any]) -> dict[str, Any]:
    """The specification of a data set or stream with the names of its files only."""
    shown = dict(spec)
    if shown.get("path"):
        shown["path"] = Path(shown["path"]).name
    if "parts" in shown:
        shown["parts"] = [_without_path(part) for part in shown["parts"]]
    return shown


def file_name(method: str) -> str:
    """The folder of a method: its name with what file systems may refuse replaced; of a long one a hash ends it."""
    name = fit_for_files(method)
    content = name.encode("utf-8", "replace")
    if len(content) <= LONGEST_FOLDER:
        return name
    digest = hashlib.sha256(method.encode("utf-8", "replace")).hexdigest()[:12]
    return f"{content[: LONGEST_FOLDER - 13].decode(errors='ignore')}-{digest}"


def fit_for_files(method: str) -> str:
    """The name of a method with what file systems may refuse replaced."""
    return "".join(character if character.isalnum() or character in "+-_.=," else "_" for character in method)
