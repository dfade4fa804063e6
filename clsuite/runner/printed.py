"""A benchmark with the options of a call, written as a file that defines the same runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clsuite.backbones.spec import KEYWORDS
from clsuite.config.class_use import CLASS, ClassUse
from clsuite.config.paths import home_path
from clsuite.config.yaml_text import write_yaml
from clsuite.plugin.loading import FILE
from clsuite.runner.bind import with_whole_paths
from clsuite.runner.methods import MethodSpec, PluginUse
from clsuite.runner.options import RunOptions
from clsuite.runner.own_classes import training_with_classes, with_classes
from clsuite.runner.record_config import evaluation_config, tasks_learned
from clsuite.runner.resolve import chosen_methods, outline
from clsuite.runner.settings import content_of
from clsuite.runner.spec import BenchmarkSpec
from clsuite.runner.streams import find_stream_file
from clsuite.runner.training import leaves, merged, without_lists
from clsuite.runner.tuned import searches_of
from clsuite.scenarios.spec import FromAvalanche


def printed_benchmark(spec: BenchmarkSpec, folder: Path, options: RunOptions) -> str:
    """The benchmark as YAML, with every default written out; its runs have the same keys, and the same records.

    Args:
        spec: The benchmark.
        folder: The folder of its file. Paths below it become absolute, because the copy will be elsewhere.
        options: The options of the call; those that determine results become part of the benchmark.

    Raises:
        UserError: If anything in it is invalid, except for missing data and weights.
    """
    outline(spec, options, folder)
    methods = chosen_methods(spec, options) if options.methods else spec.methods
    whole = {**methods, **({} if options.methods else spec.more_methods)}
    same = [name for name, method in spec.named_methods.items() if whole.get(name) == method]
    searches = [one for one in spec.tuned if one.setting not in leaves(options.training)]
    changes = {
        "limit_tasks": tasks_learned(spec, options.limit_tasks),
        "seeds": tuple(options.seeds or spec.seeds),
        "evaluation": evaluation_config(spec, options).get("evaluation"),
        "methods": _methods(methods, folder, options, whole=bool(options.methods)),
        "more_methods": {} if options.methods else _methods(spec.more_methods, folder, options, whole=False),
        "tuned": searches_of(searches, same),
    }
    kept = _at_home(spec, folder, options.data_root)
    return write_yaml({**content_of(kept, every=True), **content_of(changes, every=True)})


def _methods(methods: Mapping[str, MethodSpec], folder: Path, options: RunOptions, whole: bool) -> dict[str, Any]:
    """The methods with the training of the call, which overrides everything else.

    Args:
        methods: The methods.
        folder: Folder in which files of plugins are searched, after the current folder.
        options: The options of the call.
        whole: Whether a list is the argument itself, and not a grid.
    """
    written: dict[str, Any] = {}
    for name, method in methods.items():
        plugins = [_plugin(use, folder, whole) for use in method.plugins]
        fields = without_lists(options.training) if whole else options.training
        training = _with_whole_files(content_of(merged(method.training, fields)), folder)
        short = plugins[0] if len(plugins) == 1 else plugins
        written[name] = {"plugins": plugins, "training": training} if training else short
    return written


def _plugin(use: PluginUse, folder: Path, whole: bool) -> Any:
    """A plugin in its shortest form for a file."""
    name = _whole_file(use.name, folder)
    if not use.args and name.isidentifier():
        return name
    lists = {key: whole and isinstance(value, list | tuple) for key, value in use.args.items()}
    return {name: {key: content_of([value] if lists[key] else value) for key, value in use.args.items()}}


def _with_whole_files(training: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The training of a method, with absolute paths of the files of its classes."""
    return {
        key: {**value, CLASS: _whole_file(value[CLASS], folder)}
        if isinstance(value, Mapping) and isinstance(value.get(CLASS), str)
        else value
        for key, value in training.items()
    }


def _whole_file(name: str, folder: Path) -> str:
    """The name of a plugin or a class; the absolute path of a file beside the benchmark."""
    file = FILE.fullmatch(name)
    if file is None or home_path(file["path"]).is_file():
        return name
    beside = folder / name
    return str(beside.parent.resolve() / beside.name)


def _at_home(spec: BenchmarkSpec, folder: Path, data_root: Path | None) -> BenchmarkSpec:
    """The benchmark with absolute paths of the files beside its own."""

    def whole(use: ClassUse, part: str) -> ClassUse:
        return use.model_copy(update={"name": _whole_file(use.name, folder)})

    changed = with_classes(with_whole_paths(spec, data_root, folder), whole)
    changed = changed.model_copy(update={"training": training_with_classes(spec.training, whole)})
    weights, chosen = spec.backbone.weights, spec.scenario.root
    nearer = data_root is not None and (data_root / weights).is_file()
    if weights and weights not in KEYWORDS and not nearer and (folder / weights).is_file():
        backbone = changed.backbone.model_copy(update={"weights": str((folder / weights).resolve())})
        changed = changed.model_copy(update={"backbone": backbone})
    if isinstance(chosen, FromAvalanche):
        found = find_stream_file(spec.scenario, [folder] if data_root is None else [folder, data_root]).root
        assert isinstance(found, FromAvalanche)
        stream = chosen.model_copy(update={"path": found.path})
        changed = changed.model_copy(update={"scenario": spec.scenario.model_copy(update={"root": stream})})
    return changed
