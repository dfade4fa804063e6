"""The network as it was loaded, with a head that has grown: what row -1 and the first reading of probes are of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clsuite.learner.learner import Learner


class Untouched(Learner):
    """A learner that no plugin touches and that is never trained.

    Its features are those of the backbone as it was loaded, which runs share. They are asked for in the very batches in
    which an evaluation would compute them, so that it ends in the same bits.
    """

    def have_features(self, rows: NDArray[np.int64], batch_size: int) -> bool:
        """Have the features of rows at hand; see `Learner.have_features`."""
        if self.frozen:
            return super().have_features(rows, batch_size)
        self.store.clear()  # of other rows they were computed in other batches
        with self.autocast():
            self.store.add(self.backbone, rows, batch_size)
        return True
