"""Gradient-based sample selection (GSS)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.plugin import Batch, Learner, RehearsalPlugin, Scenario, Step, Traits, check_range
from clsuite.plugin.helpers import evaluating, head_weights


class GSS(RehearsalPlugin):
    """Replay with exemplars whose gradients differ in direction, chosen without task boundaries (GSS-Greedy).

    Aljundi et al., "Gradient based sample selection for online continual learning" (NeurIPS 2019), algorithm 2. The
    score of a new sample is 1 plus the largest cosine of its gradient with those of some exemplars. While there is
    room it is stored. Then it is a candidate if its score is below 1, which means that it disagrees with all of these;
    an exemplar i is drawn by the scores, and replaced with the probability ``score_i / (score_i + score)``.

    Gradients are those of the cross-entropy among all classes, at the weights before the step, in evaluation mode and
    without augmentation. A sample is offered at its first step in a task. The exemplars of a comparison are drawn once
    for each batch, as in the authors' code, which however compares with gradients of small batches, asks for the
    disagreement of the whole batch first, and takes steps on the batch and on exemplars one after the other.

    Args:
        capacity: Number of exemplars kept; null if `capacity_bytes` is given. (Paper: 300 and 1,000.)
        capacity_bytes: Size of the buffer in bytes, given instead of `capacity`.
        batch_size: Number of exemplars added to each batch; null adds as many as the batch has samples of its own, as
            in the paper.
        comparisons: Number of exemplars with which a new sample is compared (paper: 10).
        first_score: Score of the samples that are offered to an empty buffer (authors: a cosine of 0.1, so
            1.1).
        gradients: Of ``all`` trained parameters, in a pass for each sample (the paper's), or of the ``head`` alone,
            which must be linear: these follow from features and answers without a backward pass.
    """

    traits = Traits(
        memory=("exemplars",),
        incompatible_with={"all data": "joint training has all data already"},
        effects=("trains by itself",),
        paper="Aljundi, NeurIPS 2019 (GSS)",
        lends=True,
    )

    def __init__(
        self,
        capacity: int | None = 500,
        capacity_bytes: int | None = None,
        batch_size: int | None = None,
        comparisons: int = 10,
        first_score: float = 1.1,
        gradients: Literal["all", "head"] = "all",
    ) -> None:
        super().__init__("gss", capacity, capacity_bytes)
        check_range("gss", at_least=1, batch_size=batch_size, comparisons=comparisons)
        check_range("gss", above=0, at_most=2, first_score=first_score)
        self.batch_size, self.comparisons, self.gradients = batch_size, comparisons, gradients
        self.first_score = first_score

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Create the buffer.

        Raises:
            UserError: If gradients are those of a head that is not linear.
        """
        if self.gradients == "head":
            head_weights(learner, "gss")
        super().on_stream_start(learner, scenario)

    def transform_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Add exemplars to the batch."""
        return self.extend(batch, self.batch_size)

    def loss(self, learner: Learner, step: Step) -> None:
        """Add no loss; offer the batch's new samples to the buffer."""
        new = self.first_seen(step.batch)
        labels, indices = (column[new] for column in (step.batch.host.labels, step.batch.host.indices))
        new = ~torch.isin(indices, self.buffer.indices)
        if new.any():
            self._offer(learner, labels[new], indices[new])

    def _offer(self, learner: Learner, labels: Tensor, indices: Tensor) -> None:
        """Store new samples, or let them replace exemplars (algorithm 2)."""
        buffer, random = self.buffer, self.draws
        scores = self.scores(learner, labels, indices)
        for label, index, score in zip(labels, indices, scores, strict=True):
            place = torch.tensor([len(buffer)])
            if len(buffer) == buffer.capacity:
                if score >= 1:
                    continue
                place = torch.multinomial(buffer.keys.clamp_min(1e-6), 1, generator=random)
                old = buffer.keys[place]
                if torch.rand(1, generator=random, dtype=torch.float64) >= old / (old + score):
                    continue
            buffer.put(place, learner.images_of, label[None], index[None], score[None])

    def scores(self, learner: Learner, labels: Tensor, indices: Tensor) -> Tensor:
        """The scores of new samples, double ``[N]``: 1 plus the largest cosine with some exemplars."""
        if not len(self.buffer):
            return torch.full((len(labels),), self.first_score, dtype=torch.float64)
        chosen = self.buffer.sample_indices(self.comparisons, self.draws)
        with_images = not learner.uses_cached_features
        images = learner.images_of(indices.numpy()) if with_images else None
        own = Batch(images, labels, indices, torch.zeros(len(labels), dtype=torch.bool))
        both = [_ready(learner, one) for one in (self.buffer.batch(chosen, with_images), own)]
        cosines = self._of_all if self.gradients == "all" else self._of_head
        with evaluating(learner):
            return 1 + cosines(learner, *both).max(dim=1).values.double().cpu()

    def _of_all(self, learner: Learner, stored: Batch, own: Batch) -> Tensor:
        """Cosines ``[N, comparisons]`` of gradients of all trained parameters, sample by sample."""
        against = torch.stack([_gradient(learner, stored.part(slice(n, n + 1))) for n in range(len(stored))])
        learner.count_gradients(len(stored) + len(own))
        return torch.stack([against @ _gradient(learner, own.part(slice(n, n + 1))) for n in range(len(own))])

    @torch.no_grad()
    def _of_head(self, learner: Learner, stored: Batch, own: Batch) -> Tensor:
        """Cosines ``[N, comparisons]`` of the head's gradients, (probabilities - label) times (features, 1)."""
        parts = []
        for batch in (own, stored):
            step = learner.step_of(batch, exact=True)
            errors = step.logits.softmax(dim=1) - F.one_hot(batch.labels, step.logits.shape[1])
            parts.append(
                (F.normalize(errors, dim=1), F.normalize(F.pad(step.features.float(), (0, 1), value=1.0), dim=1))
            )
        (errors, features), (other_errors, other_features) = parts
        return (errors @ other_errors.T) * (features @ other_features.T)


def _ready(learner: Learner, batch: Batch) -> Batch:
    """A batch on the compute device, normalized."""
    batch = batch.to(learner.device)
    return batch if batch.images is None else batch.with_images(learner.backbone.normalize(batch.images))


@torch.enable_grad()
def _gradient(learner: Learner, batch: Batch) -> Tensor:
    """The normalized gradient of a batch's cross-entropy with respect to all trained parameters, as a vector."""
    values = [value for value in learner.parameters() if value.requires_grad]
    step = learner.step_of(batch, exact=True)
    loss = F.cross_entropy(step.logits.float(), batch.labels)
    parts = torch.autograd.grad(loss, values, allow_unused=True, materialize_grads=True)
    return F.normalize(torch.cat([part.flatten() for part in parts]), dim=0)
