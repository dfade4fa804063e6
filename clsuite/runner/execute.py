"""Does one run from its plan, in this process."""

from __future__ import annotations

import resource
import sys
import time
import traceback
from bdb import BdbQuit
from collections.abc import Callable
from numbers import Integral
from pathlib import Path
from typing import Any

import torch

from clsuite.backbones.spec import BackboneSpec
from clsuite.backbones.state_hash import state_sha256
from clsuite.backbones.vit import Backbone, forward_flops
from clsuite.config.error_text import shown
from clsuite.config.feature_store import feature_limit, shares_features
from clsuite.config.spec import LARGEST_NUMBER
from clsuite.data.feature_files import FeatureFiles
from clsuite.data.on_device import kept_bytes
from clsuite.data.seal import table_sha256
from clsuite.errors import InputWarning, UserError, is_foreign, warn_of
from clsuite.learner.options import TrainingSpec
from clsuite.learner.shared_features import SharedFeatures
from clsuite.plugin.base import Plugin
from clsuite.plugin.catalog import BrokenPluginError, source_now
from clsuite.probes.base import ProbeContext
from clsuite.probes.probes import make_probes
from clsuite.probes.recorder import ProbeRecorder
from clsuite.records import CostEntry, FeaturesEntry, RunRecord, reason_of, write_predictions, write_record
from clsuite.records.curves import curve_arrays
from clsuite.records.state_files import STATES
from clsuite.runner.build import build_learner
from clsuite.runner.environment import describe_environment
from clsuite.runner.model_file import save_model
from clsuite.runner.named_files import refuse_changed_files
from clsuite.runner.plan import RunPlan, failed_record
from clsuite.runner.ranks import company
from clsuite.runner.streams import stream_loader
from clsuite.runner.tracking import tracked
from clsuite.scenarios import Scenario
from clsuite.scenarios.spec import FromAvalanche, OwnScenario
from clsuite.scenarios.validation import judged_on_validation
from clsuite.stream.checkpoint import UnfitCheckpointError
from clsuite.stream.kept_states import KeptStates
from clsuite.stream.listener import StreamListener
from clsuite.stream.loop import Stream
from clsuite.stream.trainer import Report, find_device
from clsuite.stream.within_task_spec import EvaluationSpec


def execute(plan: RunPlan, report: Report, raised: Callable[[BaseException], None] = lambda error: None) -> RunRecord:
    """Do the run, or resume it after its last finished task, and write its record.

    A failed run is recorded with its traceback and keeps its checkpoint. Ctrl-C, and quitting a debugger, do not count
    as failures.

    Args:
        plan: The run.
        report: Receives its progress.
        raised: Called with the exception of a failed run, before its record is written.

    Returns:
        The record, of a failed run too.

    Raises:
        UserError: If the record of a failed run cannot be written.
    """
    with tracked(plan) as tracking:
        record = _recorded(plan, report, raised, tracking.listener)
        tracking.status = record.status
    return record


def _recorded(
    plan: RunPlan, report: Report, raised: Callable[[BaseException], None], listener: StreamListener | None
) -> RunRecord:
    """The record of the run, which is written, whether it has failed or not."""
    started = time.perf_counter()
    try:
        record = _learned(plan, report, started, listener)
        write_record(record, plan.record_path)
    except BaseException as error:  # also sys.exit of a plugin
        if not is_foreign(error) or isinstance(error, BdbQuit):
            raise
        raised(error)
        is_user_error = isinstance(error, UserError) and not isinstance(error, BrokenPluginError)
        text = f"UserError: {error}" if is_user_error else traceback.format_exc()
    else:
        plan.beside(".ckpt").unlink(missing_ok=True)
        return record
    # outside of the block above, as the exception holds what was open, and a full disk has room when that is closed
    record = failed_record(plan, "failed", _without_paths(text), time.perf_counter() - started)
    try:
        write_record(record, plan.record_path)
    except UserError as error:
        raise UserError(str(error) if str(error) in text else f"{reason_of(record)}; {error}") from error
    return record


def _learned(plan: RunPlan, report: Report, started: float, listener: StreamListener | None) -> RunRecord:
    """The record of the trained run, after its model and predictions were written."""
    training = TrainingSpec.model_validate(plan.pending.config["training"])
    torch.set_num_threads(training.threads)
    stream = build_stream(plan, report)
    stream.listener = listener
    _check_sources(plan)
    environment = describe_environment(stream.device, training.precision, training.threads)
    if plan.devices > 1:
        environment["devices"] = plan.devices
    environment["normalization"] = _normalization(stream)
    environment["backbone_sha256"] = state_sha256(stream.learner.backbone)
    environment["table_sha256"] = table_sha256(stream.scenario.table)
    if stream.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(stream.device)
    unfit, path = "", plan.beside(".ckpt")
    try:
        with company(plan, stream.device) as stream.learner.together:
            stream.run()
    except UnfitCheckpointError as error:
        unfit, path = str(error), error.path
    if unfit:
        del stream
        again = "The run begins again from the start" if path == plan.beside(".ckpt") else "The task begins again"
        warn_of(f"the checkpoint '{path}' does not fit: {unfit}. {again}.", InputWarning)
        path.unlink()
        return _learned(plan, report, started, listener)
    stream.learner.together = None
    seconds = time.perf_counter() - started - stream.taken.waited
    record = _finished(plan, stream).model_copy(update={"environment": environment, "seconds": seconds})
    if plan.save_model:
        save_model(stream.learner, record, plan.beside(".pt"))
    write_predictions(plan.beside(".npz"), {**stream.matrix.arrays(), **curve_arrays(stream.curves.curves())})
    return record


def build_stream(plan: RunPlan, report: Report) -> Stream:
    """Build the learner and the stream of a plan.

    Raises:
        UserError: If the data or the device are missing, or the data or the files that plugins name changed since the
            plan was made.
    """
    config = plan.pending.config
    scenario = load_scenario(plan)
    refuse_changed_files(plan.plugins, plan.pending.plugins, plan.data_root)
    learner = build_learner(plan.pending, plan.plugins, plan.weights, files=plan.files)
    learner.data_root = plan.data_root
    return Stream(
        learner=learner,
        scenario=scenario,
        device=find_device(plan.device),
        checkpoint_path=plan.beside(".ckpt"),
        identity=plan.pending.key,
        report=report,
        probes=ProbeRecorder(
            make_probes(plan.probes, probe_context(plan)), [probe.at == "ends" for probe in plan.probes]
        ),
        evaluation=EvaluationSpec(**config["evaluation"]) if "evaluation" in config else None,
        curve_points=plan.curve_points,
        checkpoint_minutes=plan.checkpoint_minutes,
        shared=shared_features(learner.backbone, config["backbone"]["name"]) if plan.shares_features else None,
        kept=KeptStates(plan.beside(STATES), plan.pending.key) if plan.keep_states else None,
    )


def shared_features(backbone: Backbone, name: str) -> SharedFeatures | None:
    """The features on disk that runs share; None if sharing is disabled."""
    return SharedFeatures(backbone, FeatureFiles(feature_limit()), name) if shares_features() else None


def load_scenario(plan: RunPlan) -> Scenario:
    """Make the stream of a plan again.

    Raises:
        UserError: If the data are missing, or the stream differs from the planned one.
    """
    config = plan.pending.config
    load = stream_loader(plan.dataset, plan.scenario, config["backbone"]["image_size"], plan.data_root, plan.files)
    scenario = load(plan.pending.seed, config["limit_tasks"])
    if "judged_on" in config:
        scenario = judged_on_validation(scenario)
    if scenario.fingerprint != plan.pending.scenario.fingerprint:
        raise UserError(_other_stream(plan))
    return scenario


def _other_stream(plan: RunPlan) -> str:
    """Why a stream may differ from the planned one."""
    chosen = plan.scenario.root
    if isinstance(chosen, OwnScenario):
        made = f"build(table, {plan.pending.seed}) of scenario '{chosen.own.name}'"
    elif isinstance(chosen, FromAvalanche):
        made = f"{chosen.function}({plan.pending.seed}) of '{Path(chosen.path).name}'"
    elif plan.dataset is not None and plan.dataset.own is not None:
        return f"the data set '{plan.dataset.own.name}' gives other images each time, or the data were changed"
    else:
        return "the data changed while the benchmark was running"
    return (
        f"{made} gives another stream each time: let all "
        "that it draws (class order, splits, images) follow from its argument, the seed"
    )


def probe_context(plan: RunPlan) -> ProbeContext:
    """The context from which the probes of a plan are made."""
    backbone = plan.pending.config["backbone"]
    spec = BackboneSpec(name=backbone["name"], image_size=backbone["image_size"])
    return ProbeContext(spec, plan.weights, plan.data_root, plan.files)


def _check_sources(plan: RunPlan) -> None:
    """Check, after plugins were imported, that their sources are still those of the key."""
    for info, entry in zip(plan.plugins, plan.pending.plugins, strict=True):
        if source_now(info) != entry.source:
            raise UserError(f"plugin '{info.name}' changed while the benchmark was running: run it again")


def _finished(plan: RunPlan, stream: Stream) -> RunRecord:
    return plan.pending.model_copy(
        update={
            "status": "done",
            "counts": stream.matrix.counts(),
            "tasks": stream.tasks,
            "probes": stream.probes.entries(),
            "within_task": stream.within_task.entry() if stream.within_task else None,
            "cost": cost_of(stream),
            "states": stream.kept.entries if stream.kept else None,
            "features": _taken(stream),
            "predictions": plan.beside(".npz").name,
        }
    )


def _taken(stream: Stream) -> FeaturesEntry | None:
    if not stream.taken.images:
        return None
    training, evaluation = stream.taken_seconds
    return FeaturesEntry(
        images=stream.taken.images,
        seconds=stream.taken.seconds,
        training_seconds=training,
        evaluation_seconds=evaluation,
    )


def cost_of(stream: Stream) -> CostEntry:
    """The cost of a finished run."""
    learner = stream.learner
    parameters = list(learner.parameters())
    flops = forward_flops(learner.backbone, stream.scenario.table.images.shape[-1])
    samples = sum(task.gradient_samples for task in stream.tasks if not task.frozen)
    return CostEntry(
        peak_memory_bytes=_peak_memory(stream.device),
        total_parameters=sum(parameter.numel() for parameter in parameters),
        trainable_parameters=max(task.trainable_parameters or 0 for task in stream.tasks),
        stored_bytes={kind: size for plugin in learner.plugins for kind, size in stored_by(plugin).items()},
        forward_flops_per_image=flops,
        training_flops=3 * flops * samples,
    )


def stored_by(plugin: Plugin) -> dict[str, int]:
    """What a plugin says that it stores.

    Raises:
        UserError: If that is not a number of bytes by kind.
    """
    stored: Any = plugin.stored_bytes()
    if isinstance(stored, dict) and all(isinstance(kind, str) and _is_size(size) for kind, size in stored.items()):
        return stored
    raise UserError(
        f"stored_bytes() of the plugin {type(plugin).__name__} gives {shown(stored)}, but must give a dictionary "
        "of whole numbers, such as {'exemplars': 100}"
    )


def _is_size(size: Any) -> bool:
    whole = isinstance(size, Integral) or (isinstance(size, float) and size.is_integer())
    return whole and 0 <= size <= LARGEST_NUMBER


def _normalization(stream: Stream) -> dict[str, list[float]]:
    """Mean and standard deviation, of values in [0, 1], with which the backbone's input is normalized."""
    normalize = stream.learner.backbone.normalize
    return {
        name: [round(float(value) / 255, 6) for value in getattr(normalize, name).flatten()] for name in ("mean", "std")
    }


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device)) - kept_bytes(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _without_paths(text: str) -> str:
    """A traceback with file names relative to the packages, because records hold no paths of a machine."""
    for folder in sorted({*sys.path, str(Path.cwd()), str(Path.home())}, key=len, reverse=True):
        if len(folder) > 1:
            text = text.replace(f"{folder}/", "")
    return text
