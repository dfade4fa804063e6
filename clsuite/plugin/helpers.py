"""What reference methods use beyond `clsuite.plugin`; each name is imported on first use.

* Passes over images and features: `FeatureStore`, `compute_features`, `BatchLoader`.
* Weights: `WeightSwap` (others for an evaluation), `PretrainedState` (start again), `statistics_of` (of batch
  normalizations), `check_trained` (that kinds of modules are trained).
* Weights as values: `weights_of` (a copy), `mean_of` (soups), `task_vector` (the end without the start), `set_weights`,
  `top_share` (masks of the largest entries).
* Images of a table: `read_rows`.
* Statistics: `TakenRows` (an image that comes again counts once), `row_positions`, `token_covariances` (of what the
  attentions are given).
* Analytic classifiers: `AnalyticPlugin` (statistics of frozen features) and its kinds `RidgePlugin`,
  `RandomLayerPlugin` (recursive least squares) and `DiscriminantPlugin` (LDA); what they keep, `FeatureSums`,
  `Regression`, `Discriminant`; projections `RandomProjection`, `FourierFeatures`; `solve_ridge`.
* Spaces of directions (`clsuite.learner.subspaces`): `grown` and `lessened` (GPM, DualGPM), `free_directions`,
  `complement`, `main_directions`, `null_space`; `without` and `within` (the parts of an update outside and inside).
* Classifier alignment: `ClassGaussians` (statistics of classes, and features drawn from them), `align_head` with
  `AlignmentSettings` (the head trained on these), its logits `plain_logits`, `task_normalized` and `scaled_cosine`,
  `nearness` and `reversed_nearness` (means of older or of newer classes nearer to zero), `head_values` (for
  `WeightSwap`), `check_alignable`.
* Rehearsal: `DistillingRehearsal` (exemplars among a task's images, and the model from before the task), `OldModel`
  (the answers of that model), `evaluating` (all modules in evaluation mode for a while), `head_weights`.
* Losses: `step_loss` (the benchmark's, of other logits), `cosface_loss` (a margin for the true class),
  `self_contrast` (HiDe-Prompt, MOS), `one_against_rest` (logistic), `distillation`.
* Importances: `ImportancePenalty` and `PathPenalty` (the penalty of EWC, MAS, SI and RWalk, by the importances that a
  subclass measures), `mean_over_samples` (of gradients of single images).
* Gradients and weights that are chosen: `GradientProjection` with `gradient_of` (GEM and A-GEM), `SparseTuning` (SAFT
  and SPU: all weights but some are put back after each step).
* Rates: `groups_by_rate` (heads and the rest), schedules such as `multi_step`, and the `Moment` that any function gets.
* Another pre-trained network beside the learner's: `SecondNetwork`.
* CLIP: `clip_of`, `ClassTexts`, `reference_images`, `reference_texts` (beside the stream), `random_tokens`.
* Numbers: `full_precision` (no autocast), `refuse_unscaled` (for steps of one's own), `tensor_bytes` (what is
  kept), `entropic_transport` (Sinkhorn's plan).
* Streams: `SINGLE_PASS` (the kinds whose images occur once).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clsuite.lazy import imported_on_use

if TYPE_CHECKING:
    from clsuite.backbones.class_texts import ClassTexts
    from clsuite.backbones.clip import clip_of
    from clsuite.data.batch import BatchLoader
    from clsuite.data.table import read_rows
    from clsuite.data.taken import TakenRows, row_positions
    from clsuite.learner.alignment import (
        AlignmentSettings,
        align_head,
        check_alignable,
        head_values,
        nearness,
        plain_logits,
        reversed_nearness,
        scaled_cosine,
        task_normalized,
    )
    from clsuite.learner.analytic import FeatureSums, FourierFeatures, RandomProjection, solve_ridge
    from clsuite.learner.analytic_plugin import AnalyticPlugin, RandomLayerPlugin, Regression, RidgePlugin
    from clsuite.learner.class_gaussians import ClassGaussians
    from clsuite.learner.discriminant import Discriminant, DiscriminantPlugin
    from clsuite.learner.distilling import DistillingRehearsal, head_weights
    from clsuite.learner.features import FeatureStore, compute_features
    from clsuite.learner.gradient_projection import GradientProjection, gradient_of
    from clsuite.learner.importances import ImportancePenalty, PathPenalty, mean_over_samples
    from clsuite.learner.loss import distillation, one_against_rest, self_contrast
    from clsuite.learner.margins import cosface_loss, step_loss
    from clsuite.learner.old_model import OldModel, evaluating
    from clsuite.learner.optimizer import groups_by_rate
    from clsuite.learner.precision import full_precision, refuse_unscaled
    from clsuite.learner.rehearsal import check_trained
    from clsuite.learner.schedules import Moment, multi_step
    from clsuite.learner.second_network import SecondNetwork
    from clsuite.learner.sparse_tuning import SparseTuning
    from clsuite.learner.subspaces import (
        complement,
        free_directions,
        grown,
        lessened,
        main_directions,
        null_space,
        within,
        without,
    )
    from clsuite.learner.task_identity import TaskIdentity
    from clsuite.learner.token_covariances import token_covariances
    from clsuite.learner.transport import entropic_transport
    from clsuite.learner.weight_swap import PretrainedState, WeightSwap, statistics_of
    from clsuite.learner.weights import mean_of, set_weights, task_vector, top_share, weights_of
    from clsuite.plugin.state import tensor_bytes
    from clsuite.probes.reference_images import random_tokens, reference_images, reference_texts
    from clsuite.scenarios.catalog import SINGLE_PASS

__all__ = [
    "SINGLE_PASS",
    "AlignmentSettings",
    "AnalyticPlugin",
    "BatchLoader",
    "ClassGaussians",
    "ClassTexts",
    "Discriminant",
    "DiscriminantPlugin",
    "DistillingRehearsal",
    "FeatureStore",
    "FeatureSums",
    "FourierFeatures",
    "GradientProjection",
    "ImportancePenalty",
    "Moment",
    "OldModel",
    "PathPenalty",
    "PretrainedState",
    "RandomLayerPlugin",
    "RandomProjection",
    "Regression",
    "RidgePlugin",
    "SecondNetwork",
    "SparseTuning",
    "TakenRows",
    "TaskIdentity",
    "WeightSwap",
    "align_head",
    "check_alignable",
    "check_trained",
    "clip_of",
    "complement",
    "compute_features",
    "cosface_loss",
    "distillation",
    "entropic_transport",
    "evaluating",
    "free_directions",
    "full_precision",
    "gradient_of",
    "groups_by_rate",
    "grown",
    "head_values",
    "head_weights",
    "lessened",
    "main_directions",
    "mean_of",
    "mean_over_samples",
    "multi_step",
    "nearness",
    "null_space",
    "one_against_rest",
    "plain_logits",
    "random_tokens",
    "read_rows",
    "reference_images",
    "reference_texts",
    "refuse_unscaled",
    "reversed_nearness",
    "row_positions",
    "scaled_cosine",
    "self_contrast",
    "set_weights",
    "solve_ridge",
    "statistics_of",
    "step_loss",
    "task_normalized",
    "task_vector",
    "tensor_bytes",
    "token_covariances",
    "top_share",
    "weights_of",
    "within",
    "without",
]

LAZY = {
    "SINGLE_PASS": "clsuite.scenarios.catalog",
    "AlignmentSettings": "clsuite.learner.alignment",
    "AnalyticPlugin": "clsuite.learner.analytic_plugin",
    "BatchLoader": "clsuite.data.batch",
    "ClassGaussians": "clsuite.learner.class_gaussians",
    "ClassTexts": "clsuite.backbones.class_texts",
    "Discriminant": "clsuite.learner.discriminant",
    "DiscriminantPlugin": "clsuite.learner.discriminant",
    "DistillingRehearsal": "clsuite.learner.distilling",
    "FeatureStore": "clsuite.learner.features",
    "FeatureSums": "clsuite.learner.analytic",
    "FourierFeatures": "clsuite.learner.analytic",
    "GradientProjection": "clsuite.learner.gradient_projection",
    "ImportancePenalty": "clsuite.learner.importances",
    "Moment": "clsuite.learner.schedules",
    "OldModel": "clsuite.learner.old_model",
    "PathPenalty": "clsuite.learner.importances",
    "PretrainedState": "clsuite.learner.weight_swap",
    "RandomLayerPlugin": "clsuite.learner.analytic_plugin",
    "RandomProjection": "clsuite.learner.analytic",
    "Regression": "clsuite.learner.analytic_plugin",
    "RidgePlugin": "clsuite.learner.analytic_plugin",
    "SecondNetwork": "clsuite.learner.second_network",
    "SparseTuning": "clsuite.learner.sparse_tuning",
    "TakenRows": "clsuite.data.taken",
    "TaskIdentity": "clsuite.learner.task_identity",
    "WeightSwap": "clsuite.learner.weight_swap",
    "align_head": "clsuite.learner.alignment",
    "check_alignable": "clsuite.learner.alignment",
    "check_trained": "clsuite.learner.rehearsal",
    "clip_of": "clsuite.backbones.clip",
    "complement": "clsuite.learner.subspaces",
    "compute_features": "clsuite.learner.features",
    "cosface_loss": "clsuite.learner.margins",
    "distillation": "clsuite.learner.loss",
    "entropic_transport": "clsuite.learner.transport",
    "evaluating": "clsuite.learner.old_model",
    "free_directions": "clsuite.learner.subspaces",
    "full_precision": "clsuite.learner.precision",
    "gradient_of": "clsuite.learner.gradient_projection",
    "groups_by_rate": "clsuite.learner.optimizer",
    "grown": "clsuite.learner.subspaces",
    "head_values": "clsuite.learner.alignment",
    "head_weights": "clsuite.learner.distilling",
    "lessened": "clsuite.learner.subspaces",
    "main_directions": "clsuite.learner.subspaces",
    "mean_of": "clsuite.learner.weights",
    "mean_over_samples": "clsuite.learner.importances",
    "multi_step": "clsuite.learner.schedules",
    "nearness": "clsuite.learner.alignment",
    "null_space": "clsuite.learner.subspaces",
    "one_against_rest": "clsuite.learner.loss",
    "plain_logits": "clsuite.learner.alignment",
    "random_tokens": "clsuite.probes.reference_images",
    "read_rows": "clsuite.data.table",
    "reference_images": "clsuite.probes.reference_images",
    "reference_texts": "clsuite.probes.reference_images",
    "refuse_unscaled": "clsuite.learner.precision",
    "reversed_nearness": "clsuite.learner.alignment",
    "row_positions": "clsuite.data.taken",
    "scaled_cosine": "clsuite.learner.alignment",
    "self_contrast": "clsuite.learner.loss",
    "set_weights": "clsuite.learner.weights",
    "solve_ridge": "clsuite.learner.analytic",
    "statistics_of": "clsuite.learner.weight_swap",
    "step_loss": "clsuite.learner.margins",
    "task_normalized": "clsuite.learner.alignment",
    "task_vector": "clsuite.learner.weights",
    "tensor_bytes": "clsuite.plugin.state",
    "token_covariances": "clsuite.learner.token_covariances",
    "top_share": "clsuite.learner.weights",
    "weights_of": "clsuite.learner.weights",
    "within": "clsuite.learner.subspaces",
    "without": "clsuite.learner.subspaces",
}
"""Where each name is defined."""


__getattr__ = imported_on_use(__name__, LAZY)
