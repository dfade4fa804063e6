"""From names to classes: the methods of a benchmark with all their arguments and their training. Reads no data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clsuite.config.class_use import CLASS
from clsuite.config.yaml_text import HALF
from clsuite.errors import InputWarning, UserError, shortened, warn_of
from clsuite.learner.options import OptimizerSpec, TrainingSpec
from clsuite.plugin.arguments import resolve_arguments
from clsuite.plugin.catalog import catalog, find_plugin, is_ours, unknown_plugin
from clsuite.plugin.compatibility import Named, check_method
from clsuite.plugin.introspection import PluginInfo, PluginSource
from clsuite.plugin.loading import is_file, is_importable
from clsuite.plugin.misspelled_hooks import doubts
from clsuite.plugin.strategies import is_strategy
from clsuite.runner.devices import check_shares
from clsuite.runner.grid import expand_grid
from clsuite.runner.methods import MethodSpec, parse_method, parse_named, split_outside
from clsuite.runner.options import RunOptions
from clsuite.runner.orders import outlined
from clsuite.runner.own_classes import bind_training
from clsuite.runner.requirements import (
    check_merging,
    check_needs,
    check_parts,
    check_probes,
)
from clsuite.runner.spec import BenchmarkSpec, MethodsError
from clsuite.runner.strategies import check_loop
from clsuite.runner.training import brought_training, lists_in, merged, nested, resolve_training, without_lists
from clsuite.scenarios import check_single_pass

ResolvedPlugins = list[tuple[PluginInfo, dict[str, Any]]]
FORMS = (is_file, is_importable, is_strategy)
"""Tell whether a name is of a plugin that is not registered."""


@dataclass(frozen=True)
class ResolvedMethod:
    """A method with all arguments and its training.

    Attributes:
        plugins: The place of each plugin's class, and all its arguments.
        training: The benchmark's training with the settings of the plugins, of the method and of the call.
        brought: The settings that the plugins determine, by dotted key.
        files: The files of user-defined classes in the training, by their source.
        hashes: For each plugin, the hashes of the files that its arguments name; computed when the data are found.
    """

    plugins: ResolvedPlugins
    training: TrainingSpec
    brought: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)
    hashes: Sequence[dict[str, str] | None] = ()

    @property
    def named(self) -> list[Named]:
        """Name and source of each plugin."""
        return [(info.name, info.source) for info, _ in self.plugins if info.source]


def resolve_methods(spec: BenchmarkSpec, options: RunOptions, folder: Path) -> dict[str, ResolvedMethod]:
    """The methods to run by name, checked against the benchmark; reads neither data nor weights.

    Args:
        spec: The benchmark.
        options: The options of the call.
        folder: The folder of the benchmark's YAML file, in which plugin files are searched too.

    Raises:
        MethodsError: If methods are invalid: names all of them with their mistakes.
        UserError: If a probe does not suit the backbone, a method is unknown, or a class in the benchmark's training is
            missing or of another kind.
    """
    check_probes(spec.probes, spec.backbone)
    bind_training(_without_replaced(spec.training, options.training), (Path(), folder))
    checked: dict[str, ResolvedMethod] = {}
    mistakes: list[tuple[str, UserError]] = []
    for name, method in chosen_methods(spec, options).items():
        try:
            found = _checked(spec, method, without_lists(options.training), (Path(), folder), options.devices)
            check_loop(found.named, found.training, options)
            checked[name] = found
        except UserError as error:
            mistakes.append((name, error))
    if mistakes:
        raise MethodsError(mistakes)
    return checked


def _without_replaced(training: TrainingSpec, given: Mapping[str, Any]) -> TrainingSpec:
    """The training of a benchmark without the classes that a call replaces."""
    kept: dict[str, Any] = {}
    if {CLASS, "name"} & {*(given.get("optimizer") or {})}:
        kept["optimizer"] = OptimizerSpec()
    if "schedule" in given:
        kept["own_schedule"] = None
    return training.model_copy(update=kept)


def outline(spec: BenchmarkSpec, options: RunOptions, folder: Path = Path()) -> list[tuple[str, str]]:
    """Method of every run, and its seed and order in words; data and weights, which may be missing, are not checked.

    Raises:
        UserError: As `make_plan`.
    """
    methods = resolve_methods(spec, options, folder)
    return [(name, which) for which in outlined(spec, options) for name in methods]


def method_config(spec: BenchmarkSpec, name: str) -> tuple[list[tuple[str, dict[str, Any]]], dict[str, Any]]:
    """Plugins with all arguments and the training, of one of the benchmark's methods or of a method as text.

    Raises:
        UserError: If there is no such method, or the name is ambiguous.
    """
    found = resolve_methods(spec, RunOptions(methods=(name,)), Path())
    if name not in found:
        raise UserError(f"'{name}' is ambiguous: it stands for {', '.join(found)}")
    method = found[name]
    return [(info.name, args) for info, args in method.plugins], method.training.recorded()


def _checked(
    spec: BenchmarkSpec, method: MethodSpec, given: Mapping[str, Any], folders: Sequence[Path], devices: int
) -> ResolvedMethod:
    """A method with all arguments, checked against the benchmark and for the order of its plugins."""
    resolved = _resolve(spec, method, given, folders)
    named = resolved.named
    arguments = [args for info, args in resolved.plugins if info.source]
    for kind in spec.scenario.kinds:
        check_method(named, kind, arguments)
    with_arguments = [(info.name, args) for info, args in resolved.plugins]
    check_merging(with_arguments, named)
    check_needs(named, spec.backbone, resolved.training)
    for by, parts in (("training.accumulate", resolved.training.accumulate), ("--devices", devices)):
        if parts > 1:
            check_parts(by, with_arguments, named, spec.backbone)
        check_shares(by, parts, resolved.training.batch_size)
    from_memory = any(source.traits.from_memory for _, source in named)
    check_single_pass(spec.scenario.kind, resolved.training.epochs, from_memory)
    return resolved


def chosen_methods(spec: BenchmarkSpec, options: RunOptions) -> dict[str, MethodSpec]:
    """The methods of a call, by their names in tables; grids are expanded.

    Raises:
        UserError: If there is no such method, or two have the same name.
    """
    chosen: dict[str, MethodSpec] = {}
    if not options.methods:
        mistakes: list[tuple[str, UserError]] = []
        for name, method in spec.methods.items():
            try:
                _choose(chosen, expand_grid(name, _swept(method, options), written=False))
            except UserError as error:
                mistakes.append((name, error))
        if mistakes:
            raise MethodsError(mistakes)
        return chosen
    known = spec.named_methods
    asked = [part for text in options.methods for part in split_outside(text, ",")]
    for name in (choice for part in asked for choice in (known if part == "all" else [part])):
        own, written = ("", name) if name in known else parse_named(name)
        if own in known:
            raise UserError(f"'{own}' is a method of the benchmark: give '{written}' another name")
        method = known[written] if written in known else parse_method(written)
        points = expand_grid(own or written, _swept(method, options), written=not own and written not in known)
        _choose(chosen, points)
        for use in method.plugins if written not in known else ():
            if use.name not in catalog() and not any(is_form(use.name) for is_form in FORMS):
                raise _unknown(use.name, spec)
    if not chosen:
        raise UserError("--methods names no method")
    return chosen


def _swept(method: MethodSpec, options: RunOptions) -> MethodSpec:
    """The method with the lists in a call's training settings, each of which is a grid."""
    training = method.training
    for key, values in lists_in(options.training).items():
        training = merged(training, nested(key.split("."), values))
    return method.model_copy(update={"training": training})


def _choose(chosen: dict[str, MethodSpec], more: Mapping[str, MethodSpec]) -> None:
    """Add methods, which must not have the name of another one; a repeated method is added once.

    Raises:
        UserError: If two methods have the same name, because one would be run instead of the other.
    """
    for name, method in more.items():
        if HALF.search(name):
            raise UserError(
                f"the name '{shortened(name)}' of a method has an unpaired surrogate, which file names cannot contain"
            )
        if chosen.setdefault(name, method) != method:
            raise UserError(f"two methods are called '{shortened(name)}': give one of them another name")


def _unknown(name: str, spec: BenchmarkSpec) -> UserError:
    if re.search(r"[/\\]", name):
        return UserError(
            f"'{name}' is not a plugin: a file ends in .py, and a path with '+' or ',' in it must be in quotation marks"
        )
    return unknown_plugin(name, {*catalog(), *spec.named_methods, "all"})


def _resolve(
    spec: BenchmarkSpec, method: MethodSpec, given: Mapping[str, Any], folders: Sequence[Path]
) -> ResolvedMethod:
    plugins = []
    for use in method.plugins:
        info, source = find_plugin(use.name, folders)
        _warn_of_doubts(info, source)
        plugins.append((info, resolve_arguments(use.name, source, use.args)))
    named = [(info.name, info.source) for info, _ in plugins if info.source]
    training, files = bind_training(resolve_training(spec.training, named, method.training, given), folders)
    return ResolvedMethod(plugins, training, brought_training(named, method.training, given), files)


def _warn_of_doubts(info: PluginInfo, source: PluginSource) -> None:
    """Warn of misspelled hooks: they would never be called, and nothing else would report it."""
    if not is_ours(info.target):
        for doubt in doubts(source.text, info.target.rpartition(":")[2], bool(source.traits.training), source.home):
            warn_of(f"plugin '{info.name}', {doubt.place}: {doubt.message}", InputWarning)
