"""The plan: the runs that a benchmark asks for, each with its key. Made without torch, so that it is quick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from clsuite.backbones.clip_spec import is_clip
from clsuite.backbones.spec import Weights
from clsuite.config.feature_store import feature_limit
from clsuite.data.spec import DatasetSpec
from clsuite.errors import UserError
from clsuite.plugin.compatibility import check_method
from clsuite.plugin.introspection import PluginInfo
from clsuite.probes.spec import AnyProbe
from clsuite.records import PluginEntry, RunRecord, ScenarioEntry, bounded
from clsuite.records.canonical import sha256_of
from clsuite.records.order import run_name, without_order
from clsuite.runner.bind import Bound, bind
from clsuite.runner.file_names import file_name
from clsuite.runner.named_files import named_files
from clsuite.runner.options import RunOptions
from clsuite.runner.orders import ordered_streams, seeds_of
from clsuite.runner.record_config import names_in_prompts, run_config, unrecordable
from clsuite.runner.requirements import (
    check_buffers,
    check_classes,
    check_rests,
    check_tasks,
)
from clsuite.runner.resolve import ResolvedMethod, resolve_methods
from clsuite.runner.spec import BenchmarkSpec
from clsuite.scenarios import Scenario, ScenarioSpec, check_single_pass
from clsuite.stream.within_task_spec import CURVE_POINTS
from clsuite.trackers.spec import chosen_trackers

ELSEWHERE = "elsewhere"
"""Device of a run that another machine will do, whose devices are not known here."""


@dataclass(frozen=True)
class RunPlan:
    """One run: everything that a worker needs to do it.

    Attributes:
        pending: The record as far as it is known before the run (status ``interrupted``).
        plugins: Where the classes of ``pending.plugins`` are found.
        weights: The backbone's weights.
        dataset: The data set, with the path as in the benchmark; None for a stream made with Avalanche.
        scenario: The stream, with the absolute path of its Python file if it has one.
        record_path: Path of the record; predictions, checkpoint, model and log are written beside it.
        probes: The probes.
        brought: Settings of the training that the method's plugins set, by dotted key.
        curve_points: Number of points of the training curves that are stored for each task.
        devices: Number of devices that train it together.
        files: The files of its user-defined classes, by their source.
        shares_features: Whether it may use features that other runs have stored, and store its own for them.
        checkpoint_minutes: Minutes after which the state is saved within a task too; None never does.
        keep_states: Whether it keeps its state after each task.
        trackers: The trackers that receive what it measures.
        trackers_later: Whether it only writes its journal, which the caller hands to the trackers.
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
    devices: int = 1
    files: Mapping[str, str] = field(default_factory=dict)
    checkpoint_minutes: float | None = None
    shares_features: bool = True
    keep_states: bool = False
    trackers: tuple[str, ...] = ()
    trackers_later: bool = False

    @property
    def name(self) -> str:
        """The name of the run for readers."""
        return run_name(self.pending)

    @property
    def recipe(self) -> str:
        """A hash of what the runs of all seeds and orders of a method share: its name, plugins and configuration."""
        return recipe_of(self.pending)

    def beside(self, suffix: str) -> Path:
        """Path of a file beside the record."""
        return self.record_path.with_suffix(suffix)

    def whole_paths(self) -> RunPlan:
        """The plan with absolute paths, which stay valid when a plugin changes the current folder."""
        root = Path.cwd() if self.data_root is None else self.data_root.expanduser().absolute()
        weights = (
            self.weights if self.weights.path is None else replace(self.weights, path=self.weights.path.absolute())
        )
        return replace(self, record_path=self.record_path.absolute(), data_root=root, weights=weights)


def recipe_of(record: RunRecord) -> str:
    """The hash of what the records of all seeds and orders of a method share; see `RunPlan.recipe`."""
    plugins = [entry.model_dump(mode="json") for entry in record.plugins]
    return sha256_of([record.method, plugins, without_order(record.config)])


def failed_record(plan: RunPlan, status: Literal["failed", "timeout"], reason: str, seconds: float) -> RunRecord:
    """The record of a run that has no result."""
    return plan.pending.model_copy(update={"status": status, "error": bounded(reason), "seconds": seconds})


def make_plan(spec: BenchmarkSpec, folder: Path, options: RunOptions) -> list[RunPlan]:
    """Plan all runs of a benchmark.

    Args:
        spec: The benchmark.
        folder: The folder of its YAML file, in which relative paths are looked for too.
        options: The options of the call.

    Raises:
        UserError: If anything is invalid: unknown names, mistyped values, missing data, plugins that cannot be
            combined.
    """
    planner = Planner.of(spec, folder, options)
    return planner.plans(ordered_streams(planner.bound.spec, options))


@dataclass(frozen=True)
class Planner:
    """Plans the runs of a benchmark whose methods and data have been found.

    Attributes:
        bound: The benchmark.
        methods: The methods by name.
        options: The options of the call.
        trackers: What the runs report to.
    """

    bound: Bound
    methods: Mapping[str, ResolvedMethod]
    options: RunOptions
    trackers: tuple[str, ...]

    @classmethod
    def of(cls, spec: BenchmarkSpec, folder: Path, options: RunOptions) -> Planner:
        """Find methods and data; see `make_plan`."""
        feature_limit()
        trackers = chosen_trackers(options.log, spec.log)
        methods = resolve_methods(spec, options, folder)
        bound = bind(spec, folder, options)
        hashed = {
            name: replace(method, hashes=[named_files(info, args, options.data_root) for info, args in method.plugins])
            for name, method in methods.items()
        }
        return cls(bound, hashed, options, trackers)

    def plans(self, streams: Sequence[ScenarioSpec], methods: Sequence[str] = ()) -> list[RunPlan]:
        """The runs of some methods on some streams.

        Args:
            streams: The benchmark's stream, in one or more orders.
            methods: Their names; all by default.

        Raises:
            UserError: If a stream cannot be made, or a method cannot learn it.
        """
        plans: dict[Path, RunPlan] = {}
        for seed in seeds_of(self.bound.spec, self.options):
            for stream in streams:
                scenario = self.bound.stream(seed, stream)
                spec = self.bound.spec.model_copy(update={"scenario": stream})
                bound = replace(self.bound, spec=spec)
                for name in methods or self.methods:
                    plan = _plan(bound, self.options, scenario, seed, name, self.methods[name])
                    if plan.record_path in plans:
                        raise UserError(f"two methods would write '{plan.record_path}': give '{name}' another name")
                    plans[plan.record_path] = replace(plan, trackers=self.trackers)
        return list(plans.values())


def _plan(
    bound: Bound, options: RunOptions, scenario: Scenario, seed: int, name: str, method: ResolvedMethod
) -> RunPlan:
    """The plan of one method on the stream of one seed, checked against the stream."""
    spec = bound.spec
    if scenario.kind not in spec.scenario.kinds:
        _check_kind(method, scenario)
    check_buffers([(info.name, info.source, args) for info, args in method.plugins if info.source], scenario)
    check_classes(name, method.named, method.training, scenario)
    check_tasks(method.training, scenario)
    check_rests(name, method.named, method.training, spec.backbone, scenario)
    config: dict[str, Any] = {}
    try:
        config = {**run_config(spec, options, method.training, bound.weights), "probes": bound.probes}
        if is_clip(spec.backbone.name):
            config["backbone"]["class_names"] = names_in_prompts(scenario)
        pending = _pending(spec, config, scenario, name, seed, _entries(method))
    except (TypeError, ValueError) as error:  # a value that JSON has not
        raise UserError(f"method '{name}': {unrecordable(config, method.plugins) or error}") from error
    return RunPlan(
        pending=pending,
        plugins=tuple(info for info, _ in method.plugins),
        weights=bound.weights,
        dataset=spec.dataset,
        scenario=spec.scenario,
        record_path=options.out / spec.name / file_name(name) / f"seed{seed}-{pending.key[:12]}.json",
        data_root=options.data_root,
        device=options.device,
        save_model=options.save_model,
        probes=spec.probes,
        brought=method.brought,
        curve_points=options.curve_points,
        devices=options.devices,
        files={**bound.files, **method.files},
        checkpoint_minutes=method.training.checkpoint_minutes,
        shares_features=not options.no_feature_store,
        keep_states=options.keep_states,
    )


def _check_kind(method: ResolvedMethod, scenario: Scenario) -> None:
    """Check a method against a stream whose kind is known only now: that of a class, or of a file.

    Raises:
        UserError: If it cannot learn that kind of stream.
    """
    check_method(method.named, scenario.kind, [args for info, args in method.plugins if info.source])
    from_memory = any(source.traits.from_memory for _, source in method.named)
    check_single_pass(scenario.kind, method.training.epochs, from_memory)


def _entries(method: ResolvedMethod) -> list[PluginEntry]:
    return [
        PluginEntry(
            name=info.name,
            args=args,
            source=info.source.sha256 if info.source else "",
            distribution=info.distribution,
            files=files,
        )
        for (info, args), files in zip(method.plugins, method.hashes, strict=True)
    ]


def _pending(
    spec: BenchmarkSpec,
    config: dict[str, Any],
    scenario: Scenario,
    method: str,
    seed: int,
    entries: list[PluginEntry],
) -> RunRecord:
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
            class_names=list(scenario.class_names) if is_clip(spec.backbone.name) else None,
        ),
    )
