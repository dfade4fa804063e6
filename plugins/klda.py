"""Linear discriminant analysis of several draws of random Fourier features (KLDA)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from clsuite.plugin import Learner, Traits, check_range
from clsuite.plugin.helpers import AnalyticPlugin, Discriminant, FourierFeatures


class KLDA(AnalyticPlugin):
    """The mean prediction of several `lda`, each on its own draw of random Fourier features.

    Momeni et al., "Continual learning using a kernel-based method over foundation models" (AAAI 2025). Each member maps
    the features of the frozen backbone to random Fourier features, which approximate the RBF kernel, and keeps class
    means and the scatter within all classes. Its logits are the negative Mahalanobis distances to the means, with the
    pseudo-inverse of the scatter as the precision; the softmax of the members is averaged. The logarithm of that mean
    is the prediction.

    The scatter is not divided by the number of images, as in the code that was read (a copy; the authors' own was not
    found): this decides no prediction of one member, but makes the softmax of each nearly flat. That code centers the
    scatter on the class means of each batch; here it is around the means of all images, so that classes may come in
    parts. The pseudo-inverse ignores directions in which no image differs; it predicts badly where there are about as
    many images as random features. An image that occurs again does not count again.

    Args:
        projection: M, the number of random features of a member (paper: 5,000; not verified; the memory is M^2 numbers
            of eight bytes for each member).
        gamma: Gamma of the kernel, in the paper set for each backbone; null takes 1 / (width times variance) of the
            first task's features, as in `randumb`.
        members: Number of draws; 1 is the paper's single KLDA.
        scatter: ``summed`` over the images (authors), or ``averaged``: the distances are those of a covariance.
    """

    traits = Traits(memory=("statistics",), gradient_free=True, scores="logits", paper="Momeni, AAAI 2025 (KLDA)")

    def __init__(
        self,
        projection: int = 5000,
        gamma: float | None = None,
        members: int = 1,
        scatter: Literal["summed", "averaged"] = "summed",
    ) -> None:
        super().__init__()
        check_range("klda", at_least=1, projection=projection, members=members)
        check_range("klda", above=0, gamma=gamma)
        self.projection, self.gamma, self.members, self.scatter = projection, gamma, members, scatter

    def prepare(self, learner: Learner, classes: int) -> None:
        """Draw the random features of the members and create their sums."""
        generator = learner.generator("fourier features")
        width, size = learner.backbone.width, self.projection
        self._members = [
            (FourierFeatures(width, size, self.gamma, generator), Discriminant(size, classes))
            for _ in range(self.members)
        ]

    def learn(self, learner: Learner, features: Tensor, labels: Tensor) -> None:
        """Take gamma from the first features, add to the sums, and solve for the classifiers."""
        for fourier, lda in self._members:
            fourier.fit(features)
            lda.sums.add(fourier(features), self.one_hot(labels))
            covariance = lda.covariance(self._numbers)
            varies = lda.varies(covariance, self._numbers)
            lda.solve(self._numbers, covariance if varies else torch.eye(len(covariance)).double(), singular=True)

    def scores(self, features: Tensor, seen: int) -> Tensor:
        """Logarithm of the members' mean softmax, ``[B, seen]``; a distance is -2 times a score of `lda`."""
        factor = 2 / float(self._numbers.sum().clamp_min(1)) if self.scatter == "summed" else 2.0
        each = [(factor * lda.scores(fourier(features), seen)).log_softmax(dim=1) for fourier, lda in self._members]
        return torch.stack(each).logsumexp(dim=0) - torch.tensor(float(len(each))).log()

    def state_dict(self) -> dict[str, Any]:
        """The declared state, gamma, sums and classifiers."""
        members = [(fourier.state_dict(), lda.state_dict()) for fourier, lda in self._members]
        return super().state_dict() | {"members": members}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore all of it."""
        super().load_state_dict(state_dict)
        for (fourier, lda), saved in zip(self._members, state_dict["members"], strict=True):
            fourier.load_state_dict(saved[0])
            lda.load_state_dict(saved[1])

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the members' sums and of their random features' weights."""
        seen = int((self._numbers > 0).sum())
        return {"statistics": sum(fourier.bytes + lda.bytes_of(seen) for fourier, lda in self._members)}
