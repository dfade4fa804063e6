"""What methods use beyond the plugin API itself; each name is imported on first use.

* Passes over images and features: `FeatureStore`, `compute_features`, `BatchLoader`.
* Losses and heads: `classification_loss`, `warm_up_head`, `GrowingHead`, `Head`.
* Weights: `WeightSwap` (others for an evaluation), `PretrainedState` (start again), `statistics_of` (of batch
  normalizations), `select_parameters` and `check_trained` (by kinds of modules), `tune_on_exemplars`.
* Exemplars and statistics: `herding_ranks`, `TakenRows` (an image that comes again counts once), `row_positions`.
* CLIP: `clip_of`, `ClassTexts`.
* Numbers: `full_precision` (no autocast), `tensor_bytes` (what is kept).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clsuite.backbones.class_texts import ClassTexts
    from clsuite.backbones.clip import clip_of
    from clsuite.data.batch import BatchLoader
    from clsuite.data.buffer import herding_ranks
    from clsuite.data.taken import TakenRows, row_positions
    from clsuite.learner.features import FeatureStore, compute_features
    from clsuite.learner.head import GrowingHead, Head
    from clsuite.learner.loss import classification_loss
    from clsuite.learner.precision import full_precision
    from clsuite.learner.rehearsal import check_trained, select_parameters, tune_on_exemplars
    from clsuite.learner.warmup import warm_up_head
    from clsuite.learner.weight_swap import PretrainedState, WeightSwap, statistics_of
    from clsuite.plugin.state import tensor_bytes

__all__ = [
    "BatchLoader",
    "ClassTexts",
    "FeatureStore",
    "GrowingHead",
    "Head",
    "PretrainedState",
    "TakenRows",
    "WeightSwap",
    "check_trained",
    "classification_loss",
    "clip_of",
    "compute_features",
    "full_precision",
    "herding_ranks",
    "row_positions",
    "select_parameters",
    "statistics_of",
    "tensor_bytes",
    "tune_on_exemplars",
    "warm_up_head",
]

LAZY = {
    "BatchLoader": "clsuite.data.batch",
    "ClassTexts": "clsuite.backbones.class_texts",
    "FeatureStore": "clsuite.learner.features",
    "GrowingHead": "clsuite.learner.head",
    "Head": "clsuite.learner.head",
    "PretrainedState": "clsuite.learner.weight_swap",
    "TakenRows": "clsuite.data.taken",
    "WeightSwap": "clsuite.learner.weight_swap",
    "check_trained": "clsuite.learner.rehearsal",
    "classification_loss": "clsuite.learner.loss",
    "clip_of": "clsuite.backbones.clip",
    "compute_features": "clsuite.learner.features",
    "full_precision": "clsuite.learner.precision",
    "herding_ranks": "clsuite.data.buffer",
    "row_positions": "clsuite.data.taken",
    "select_parameters": "clsuite.learner.rehearsal",
    "statistics_of": "clsuite.learner.weight_swap",
    "tensor_bytes": "clsuite.plugin.state",
    "tune_on_exemplars": "clsuite.learner.rehearsal",
    "warm_up_head": "clsuite.learner.warmup",
}
"""Where each name is defined."""


def __getattr__(name: str) -> Any:
    if name in LAZY:
        return getattr(import_module(LAZY[name]), name)
    raise AttributeError(f"module 'clsuite.plugin.helpers' has no attribute '{name}'")
