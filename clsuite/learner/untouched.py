"""The network as it was loaded, with an untrained head, for the evaluation and probes before the stream."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clsuite.learner.learner import Learner


class Untouched(Learner):
    """A learner without plugins that is never trained.

    Its features are those of the backbone as it was loaded, which runs share. They are requested in the same batches as
    in an evaluation, so that the result has the same bits.
    """

    def have_features(self, rows: NDArray[np.int64], batch_size: int) -> bool:
        """Provide the features of rows; see `Learner.have_features`."""
        if self.frozen:
            return super().have_features(rows, batch_size)
        self.store.clear()  # features of an earlier request were computed in other batches
        with self.autocast():
            self.store.add(self.backbone, rows, batch_size)
        return True
