"""Experience replay with an asymmetric metric loss (ER-AML)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.plugin import Batch, Learner, RehearsalPlugin, Step, Traits, check_range


class ERAML(RehearsalPlugin):
    """New samples are compared with one another and with exemplars by their features, and only exemplars by the head.

    Caccia et al., "New insights on reducing abrupt representation change in online continual learning" (ICLR 2022),
    section 4.1, as in the authors' code. For each new sample, a positive of its class and a negative of another class
    of the batch are drawn from the batch and the buffer; samples without both are left out. With normalized features,
    the loss of a new sample is

        - temperature / base * mean over all drawn samples of its class of
            log (exp(similarity / temperature) / sum over all drawn samples of exp(similarity / temperature))

    averaged over the new samples, plus the cross-entropy of exemplars among all seen classes. Old classes that are not
    in the batch are no negatives, so that new samples do not push their features away. Until there are exemplars, the
    loss is the cross-entropy of the batch.

    Exemplars are offered at a sample's first step in a task (as in `er_ace`). What is drawn passes through the network
    and back in a pass of its own, which is counted.

    Args:
        capacity: Number of exemplars kept; null if `capacity_bytes` is given. (Paper: 20 to 100 for each class.)
        capacity_bytes: Size of the buffer in bytes, given instead of `capacity`.
        batch_size: Number of exemplars added to each batch; null adds as many as the batch has samples of its own, as
            in the paper.
        temperature: What similarities are divided by (authors: 0.2).
        base: What the loss is divided by, after it is multiplied with the temperature (authors: 0.07).
    """

    traits = Traits(
        memory=("exemplars",),
        incompatible_with={
            "all data": "joint training has all data already",
            "trains other networks": "new samples are compared by the features of one network",
        },
        effects=("trains by itself",),
        paper="Caccia, ICLR 2022 (ER-AML)",
        lends=True,
    )

    def __init__(
        self,
        capacity: int | None = 500,
        capacity_bytes: int | None = None,
        batch_size: int | None = None,
        temperature: float = 0.2,
        base: float = 0.07,
    ) -> None:
        super().__init__("er_aml", capacity, capacity_bytes)
        check_range("er_aml", at_least=1, batch_size=batch_size)
        check_range("er_aml", above=0, temperature=temperature, base=base)
        self.batch_size, self.temperature, self.base = batch_size, temperature, base

    def transform_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Add exemplars to the batch."""
        return self.extend(batch, self.batch_size)

    def classification(self, learner: Learner, step: Step) -> Tensor | None:
        """The contrast of new samples and the cross-entropy of exemplars; None while there are none."""
        replayed = step.batch.replayed
        if not len(self.buffer) or not replayed.any():
            return None
        loss = F.cross_entropy(step.logits[replayed].float(), step.batch.labels[replayed])
        contrast = self._contrast(learner, step)
        return loss if contrast is None else loss + contrast

    def _contrast(self, learner: Learner, step: Step) -> Tensor | None:
        """The contrast of new samples with what is drawn for them; None if no sample has both."""
        host = step.batch.host
        new = (~host.replayed).nonzero().flatten()
        labels = torch.cat([self.buffer.labels, host.labels[new]])
        rows = torch.cat([self.buffer.indices, host.indices[new]])
        same = host.labels[new][:, None] == labels
        others = ~same & torch.isin(labels, host.labels[new])
        same &= host.indices[new][:, None] != rows  # not with itself, nor with its own copy among the exemplars
        valid = same.any(dim=1) & others.any(dim=1)
        if not valid.any():
            return None
        drawn = torch.cat([
            torch.multinomial(mask[valid].float(), 1, generator=self.draws).flatten() for mask in (same, others)
        ])  # fmt: skip
        images = None if learner.uses_cached_features else learner.images_of(rows[drawn].numpy())
        batch = Batch(images, labels[drawn], rows[drawn], torch.ones(len(drawn), dtype=torch.bool))
        again = learner.rehearse(batch)
        learner.count_gradients(len(drawn))
        anchors = step.features[new[valid].to(step.features.device)]
        return self.contrast(anchors, host.labels[new[valid]], again.features, labels[drawn])

    def contrast(self, anchors: Tensor, labels: Tensor, drawn: Tensor, drawn_labels: Tensor) -> Tensor:
        """The loss of new samples, a scalar.

        Args:
            anchors: Features of new samples ``[V, width]``.
            labels: Their labels ``[V]``.
            drawn: Features of their positives and negatives ``[2 V, width]``.
            drawn_labels: Labels of these ``[2 V]``.
        """
        anchors, drawn = (F.normalize(features.float(), dim=1) for features in (anchors, drawn))
        logarithms = (anchors @ drawn.T / self.temperature).log_softmax(dim=1)
        positive = (labels[:, None] == drawn_labels).to(logarithms)
        means = (positive * logarithms).sum(dim=1) / positive.sum(dim=1)
        return -self.temperature / self.base * means.mean()

    def loss(self, learner: Learner, step: Step) -> None:
        """Add no loss; offer the batch's new samples to the buffer."""
        self.add_step(learner, step)
