"""Builds the learner that a record describes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from clsuite.backbones.clip import build_clip
from clsuite.backbones.clip_spec import is_clip
from clsuite.backbones.spec import BackboneSpec, Weights
from clsuite.backbones.vit import build_backbone
from clsuite.data.stable_random import derive_seed
from clsuite.learner.learner import Learner
from clsuite.learner.options import TrainingSpec
from clsuite.plugin.catalog import load_class
from clsuite.plugin.introspection import PluginInfo
from clsuite.records import RunRecord

Enter = Callable[[bool], None]


def skip(own: bool) -> None:
    """Hear nothing."""


def build_learner(record: RunRecord, plugins: Sequence[PluginInfo], weights: Weights, enter: Enter = skip) -> Learner:
    """Build the learner of a run, untrained.

    Args:
        record: The run's record, pending or finished.
        plugins: Where the classes of its plugins are found.
        weights: The backbone's weights.
        enter: Hears whether what comes next is of the method itself, and not of the backbone.

    Raises:
        UserError: If a plugin fails to import, or the weights do not fit.
    """
    backbone = record.config["backbone"]
    known = ("name", "image_size", "normalization", "templates")
    spec = BackboneSpec.model_validate({key: backbone[key] for key in known if key in backbone})
    torch.manual_seed(derive_seed(record.seed, "backbone"))
    enter(True)
    instances = [load_class(info)(**entry.args) for info, entry in zip(plugins, record.plugins, strict=True)]
    enter(False)
    options = TrainingSpec.model_validate(record.config["training"])
    built = build_clip(spec, weights) if is_clip(spec.name) else build_backbone(spec, weights)
    enter(True)
    return Learner(built, options, instances, record.seed)
