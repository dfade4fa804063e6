"""Builds the learner that a record describes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from timm.models import load_state_dict as read_state_dict
from torch import nn

from clsuite.backbones.clip import build_clip
from clsuite.backbones.clip_spec import is_clip
from clsuite.backbones.finite import check_finite
from clsuite.backbones.own import OwnBackbone
from clsuite.backbones.spec import BackboneSpec, Weights
from clsuite.backbones.vit import Backbone, build_backbone
from clsuite.backbones.weight_file import fit, read_network
from clsuite.config.class_use import ClassUse
from clsuite.data.stable_random import derive_seed
from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.optimizer import OptimizerPolicy
from clsuite.learner.options import TrainingSpec
from clsuite.plugin.catalog import load_class
from clsuite.plugin.introspection import PluginInfo
from clsuite.plugin.own_class import Files, called, import_class, make_own
from clsuite.records import RunRecord

Enter = Callable[[bool], None]


def skip(own: bool) -> None:
    """Ignore the notification."""


def build_learner(
    record: RunRecord,
    plugins: Sequence[PluginInfo],
    weights: Weights,
    enter: Enter = skip,
    files: Files | None = None,
) -> Learner:
    """Build the learner of a run, untrained.

    Args:
        record: The run's record, pending or finished.
        plugins: Where the classes of its plugins are found.
        weights: The backbone's weights.
        enter: Called with whether the code that comes next is the method's own, and not the backbone's.
        files: The files of the user-defined classes in the configuration, by their source.

    Raises:
        UserError: If a plugin fails to import, or the weights do not fit.
    """
    torch.manual_seed(derive_seed(record.seed, "backbone"))
    enter(True)
    instances = [load_class(info)(**entry.args) for info, entry in zip(plugins, record.plugins, strict=True)]
    enter(False)
    options = TrainingSpec.model_validate(record.config["training"])
    built = recorded_backbone(record, weights, files or {})
    enter(True)
    learner = Learner(built, options, instances, record.seed)
    if options.optimizer.own is not None or options.own_schedule is not None:
        learner.optimizer_policy = _own_policy(options, files or {})
    return learner


def recorded_backbone(record: RunRecord, weights: Weights, files: Files) -> Backbone:
    """Build the backbone that a record describes, as it is before training."""
    backbone = record.config["backbone"]
    known = ("name", "image_size", "normalization", "templates", "class", "args", "source")
    spec = BackboneSpec.model_validate({key: backbone[key] for key in known if key in backbone})
    if spec.own is not None:
        return _own_backbone(spec, spec.own, weights, files)
    return build_clip(spec, weights) if is_clip(spec.name) else build_backbone(spec, weights)


def _own_backbone(spec: BackboneSpec, own: ClassUse, weights: Weights, files: Files) -> Backbone:
    """A user-defined module, with the weights of a file if there is one."""
    model = make_own(own, "backbone", files, nn.Module)
    if weights.path is not None:
        state, _ = read_network(weights.path, partial(read_state_dict, weights_only=True), model.state_dict())
        fit(model, state, weights.path, spec.name)
        check_finite(model, f"the weights file '{weights.path}'")
    backbone = OwnBackbone(model, spec)
    called(f"backbone '{own.name}'", lambda: backbone.check(spec.image_size))
    return backbone


def _own_policy(options: TrainingSpec, files: Files) -> OptimizerPolicy:
    """The optimizer policy of a run with user-defined classes, which are tried on a dummy module."""
    own, schedule = options.optimizer.own, options.own_schedule
    make = make_schedule = None
    if own is not None:
        with_rate = own.model_copy(update={"args": {"lr": options.optimizer.lr, **own.args}})
        make = partial(make_own, with_rate, "optimizer", files, torch.optim.Optimizer)
    if schedule is not None:
        make_schedule = partial(make_own, schedule.own, "schedule", files, torch.optim.lr_scheduler.LRScheduler)
    policy = OptimizerPolicy(options, make, make_schedule)
    if schedule is not None:
        refuse_metric(import_class(schedule.own, "schedule", files, torch.optim.lr_scheduler.LRScheduler))
    head = nn.Linear(1, 1)
    policy.configure(nn.ModuleDict({"body": nn.Linear(1, 1), "head": head}), None, 1)
    return policy


def refuse_metric(schedule: type[torch.optim.lr_scheduler.LRScheduler]) -> None:
    """Refuse a schedule that needs a validation metric in each step.

    Raises:
        UserError: If it does: training provides no such value.
    """
    if issubclass(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise UserError(
            f"schedule '{schedule.__name__}' needs a metric, which training does not provide: use another schedule"
        )
