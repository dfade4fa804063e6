"""How alike classes are to a frozen backbone."""

from __future__ import annotations

import numpy as np
import torch

from clsuite.data.stable_random import derive_seed
from clsuite.learner.features import compute_features
from clsuite.runner.build import recorded_backbone
from clsuite.runner.execute import load_scenario, shared_features
from clsuite.runner.plan import RunPlan
from clsuite.stream.trainer import find_device
from clsuite.tuning.order_search import Floats

IMAGES = 50
"""Largest number of training images of each class from which its mean features are computed."""


def class_similarity(plan: RunPlan) -> Floats:
    """Cosines ``[K, K]`` of the classes' mean features, as deviations from the mean of all classes.

    Features are those of the frozen backbone, which runs share on disk, of at most `IMAGES` training images of a class.

    Args:
        plan: A run; classes are in the order of its data set.
    """
    scenario = load_scenario(plan)
    table = scenario.table
    rows = np.sort(np.concatenate([task.train for task in scenario.tasks]))
    rows = np.concatenate([rows[table.labels[rows] == label][:IMAGES] for label in range(len(table.classes))])
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(plan.pending.seed, "backbone"))
        backbone = recorded_backbone(plan.pending, plan.weights, plan.files).to(find_device(plan.device))
    name = plan.pending.config["backbone"]["name"]
    shared = shared_features(backbone, name) if plan.shares_features else None
    if shared is None:
        features = compute_features(backbone, table.images, rows)
    else:
        features = shared.features_of(backbone, table, rows)
    values, labels = features.double().cpu().numpy(), table.labels[rows]
    means = np.stack([values[labels == label].mean(axis=0) for label in range(len(table.classes))])
    means -= means.mean(axis=0)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    similarity: Floats = np.round(means @ means.T, 9)
    return similarity
