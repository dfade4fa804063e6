"""FeCAM of Avalanche as a method: a classifier and a plugin of its, of which it has no strategy."""

from __future__ import annotations

from typing import Any

from avalanche.models import FeCAMClassifier, TrainEvalModel
from avalanche.training import Naive
from avalanche.training.plugins import CurrentDataFeCAMUpdate

SCORES = "distance"


def make_strategy(model: Any, optimizer: Any, criterion: Any, sizes: Any, device: Any, tukey: bool = False) -> Naive:
    """FeCAM on the features of the pre-trained network, which is not trained: no epochs, and then the statistics.

    Args:
        model: The network: ``model.features`` and ``model.classifier``.
        optimizer: The optimizer of the training options.
        criterion: The cross-entropy.
        sizes: The sizes of the run.
        device: The compute device.
        tukey: Whether features are transformed, which needs features that are not negative.
    """
    network = TrainEvalModel(model.features, model.classifier, FeCAMClassifier(tukey=tukey))
    return Naive(
        model=network,
        optimizer=optimizer,
        criterion=criterion,
        train_mb_size=sizes.batch,
        train_epochs=0,
        device=device,
        plugins=[CurrentDataFeCAMUpdate()],
        evaluator=None,
    )
