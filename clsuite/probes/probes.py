"""The built-in probes, measured before the stream and after each task.

Probes of features use the backbone with its currently enabled modules: for a method that selects a module for each
image, this is the newest module.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import binary_calibration_error

from clsuite.data.batch import BatchLoader
from clsuite.data.manifest import choose_rows
from clsuite.data.stable_random import stable_random
from clsuite.errors import UserError
from clsuite.learner.finite import check_answers
from clsuite.learner.learner import Learner
from clsuite.probes.base import Features, Measure, ProbeContext, Reading
from clsuite.probes.images import load_probe_images
from clsuite.probes.knn import weighted_knn
from clsuite.probes.original_head import BothTokens, DistilledHead, original_head
from clsuite.probes.own import OwnMeasure
from clsuite.probes.spec import (
    AnyProbe,
    CalibrationProbe,
    HeadProbe,
    KnnProbe,
    LeftOutProbe,
    OwnProbe,
    ZeroShotProbe,
    probe_name,
)
from clsuite.probes.zero_shot import ZeroShotAccuracy

BATCH = 128


def make_probes(specs: Sequence[AnyProbe], context: ProbeContext) -> list[Measure]:
    """Create the probes of a run.

    Raises:
        UserError: If a probe's images are missing, or the original head does not fit them.
    """
    return [_make(spec, context) for spec in specs]


def _make(spec: AnyProbe, context: ProbeContext) -> Measure:
    if isinstance(spec, HeadProbe):
        return OriginalHead(spec, context)
    if isinstance(spec, KnnProbe):
        return NearestNeighbours(spec, context)
    if isinstance(spec, LeftOutProbe):
        return LeftOutDomains(spec)
    if isinstance(spec, ZeroShotProbe):
        return ZeroShotAccuracy(spec, context)
    if isinstance(spec, OwnProbe):
        return OwnMeasure(spec, context)
    return Calibration(spec)


class OriginalHead:
    """Accuracy of the pre-trained head, and the divergence KL(before || now) of its predictions, in nats."""

    def __init__(self, spec: HeadProbe, context: ProbeContext) -> None:
        """Load the images and the head.

        Raises:
            UserError: If the number of outputs of the head differs from the number of classes in the probe set.
        """
        self._name = probe_name(spec)
        table = load_probe_images(spec.path, context.backbone.image_size, context.data_root)
        self._head = original_head(context, len(table.classes))
        rows = np.arange(len(table))
        rows = choose_rows(table.labels, table.domains, rows, spec.images_per_class, "probe images")
        view = BothTokens if isinstance(self._head, DistilledHead) else None
        self._features, self._labels = Features(table, rows, view), torch.from_numpy(table.labels[rows])
        self.before: Tensor | None = None

    def __call__(self, learner: Learner) -> dict[str, Reading]:
        """Measure accuracy and divergence; the first reading is the reference for later ones.

        Both are undefined for features that the head was not trained on, such as the mean of prompts.
        """
        if not learner.has_own_features:
            return {self._name: Reading(None, True), f"{self._name}_kl": Reading(None, False)}
        features = self._features.of(learner).cpu()
        with torch.no_grad():
            answers = F.log_softmax(self._head(features).double(), dim=1)
        if self.before is None:
            self.before = answers
        divergence = F.kl_div(answers, self.before, reduction="batchmean", log_target=True)
        return {
            self._name: Reading.accuracy(answers.argmax(dim=1) == self._labels),
            f"{self._name}_kl": Reading(max(0.0, float(divergence)), False),
        }


class NearestNeighbours:
    """Weighted k-NN accuracy of the current features, with a fixed split into index and queries."""

    def __init__(self, spec: KnnProbe, context: ProbeContext) -> None:
        """Load the images and split them.

        Raises:
            UserError: If a class has too few images.
        """
        self._spec = spec
        table = load_probe_images(spec.path, context.backbone.image_size, context.data_root)
        index, queries = split_index_queries(table.labels, spec.index, spec.queries, spec.path)
        self._index_size = len(index)
        rows = np.concatenate([index, queries])
        self._features, self._labels = Features(table, rows), torch.from_numpy(table.labels[rows])

    def __call__(self, learner: Learner) -> dict[str, Reading]:
        """Measure the accuracy on the queries."""
        features = self._features.of(learner).cpu()
        index, queries = features[: self._index_size], features[self._index_size :]
        known, wanted = self._labels[: self._index_size], self._labels[self._index_size :]
        answers = weighted_knn(index, known, queries, self._spec.k, self._spec.temperature)
        return {probe_name(self._spec): Reading.accuracy(answers == wanted)}


def split_index_queries(
    labels: NDArray[np.int64], index: int, queries: int, where: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the index and of the queries, class by class, from a fixed permutation of each class.

    Raises:
        UserError: If a class has fewer than ``index + 1`` images.
    """
    parts: tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]] = ([], [])
    for label in np.unique(labels):
        rows = stable_random(0, "knn probe", int(label)).permutation(np.flatnonzero(labels == label))
        if len(rows) <= index:
            raise UserError(f"probe set '{where}': a class has {len(rows)} images, but the index takes {index}")
        parts[0].append(rows[:index])
        parts[1].append(rows[index : index + queries])
    return np.concatenate(parts[0]), np.concatenate(parts[1])


def predict_rows(learner: Learner, rows: NDArray[np.int64]) -> Tensor:
    """The method's logits ``[len(rows), seen classes]`` for rows of the stream's table, on the CPU, in eval mode.

    Raises:
        UserError: If a value is not finite.
    """
    known = learner.have_features(rows, BATCH)
    table, labels = learner.scenario.table, learner.scenario.labels
    loader = BatchLoader(table, labels, rows, BATCH, with_images=not known, device=learner.device)
    was_training = learner.training
    learner.eval()
    answers = []
    with torch.no_grad(), learner.autocast():
        for batch in loader:
            if batch.images is not None:
                batch = batch.with_images(learner.backbone.normalize(batch.images))
            answers.append(learner.predict_logits(batch))
    learner.train(was_training)
    logits = torch.cat(answers).cpu()
    check_answers(logits, learner.plugins, learner.task, f"on {len(rows)} test images that a probe reads")
    return logits


class LeftOutDomains:
    """Accuracy on the test images of the domains that no task trains on."""

    def __init__(self, spec: LeftOutProbe) -> None:
        """Store the name."""
        self._name = probe_name(spec)

    def __call__(self, learner: Learner) -> dict[str, Reading]:
        """Measure the accuracy.

        Raises:
            UserError: If the stream trains on all domains.
        """
        scenario = learner.scenario
        table = scenario.table
        trained = np.unique(np.concatenate([table.domains[task.train] for task in scenario.tasks]))
        rows = np.flatnonzero(table.is_test & ~np.isin(table.domains, trained))
        if not len(rows):
            raise UserError(
                "probe left_out_domains: the stream trains on every domain; leave one out by scenario.tasks"
            )
        labels = torch.from_numpy(scenario.labels[rows])
        return {self._name: Reading.accuracy(predict_rows(learner, rows).argmax(dim=1) == labels)}


class Calibration:
    """Expected calibration error (Guo et al., ICML 2017, equation 3) on the test images of the classes seen."""

    def __init__(self, spec: CalibrationProbe) -> None:
        """Store name and number of bins."""
        self._name, self._bins = probe_name(spec), spec.bins

    def __call__(self, learner: Learner) -> dict[str, Reading]:
        """Measure the error, in [0, 1]; undefined for scores that are not logits."""
        if learner.scores != "logits":
            return {self._name: Reading(None, False)}
        scenario = learner.scenario
        tests = np.unique(np.concatenate([part.test for part in scenario.eval_splits]))
        rows = tests[scenario.labels[tests] < learner.seen]
        confidence, answers = predict_rows(learner, rows).float().softmax(dim=1).max(dim=1)
        right = answers == torch.from_numpy(scenario.labels[rows])
        error = float(binary_calibration_error(confidence, right.int(), n_bins=self._bins))
        return {self._name: Reading(error, False)}
