"""Recursive least squares behind a random layer on frozen features (ACIL)."""

from __future__ import annotations

from typing import Literal

from clsuite.plugin import Traits, check_range
from clsuite.plugin.helpers import RandomLayerPlugin

MIXED = "its tasks have classes that earlier ones have too: g_acil is the same for these"


class ACIL(RandomLayerPlugin):
    """Ridge regression behind a random layer, whose solution is updated recursively, task by task.

    Zhuang et al., "ACIL: analytic class-incremental learning with absolute memorization and privacy protection"
    (NeurIPS 2022), equations 9 and 10. Features of the frozen backbone pass a random layer with ReLU. The inverse of
    ``G + ridge I`` and the solution are updated by each batch, in double precision. The solution is the ridge
    regression on all images so far, whatever their order and the size of batches: that of `ranpac` with the same
    projection and one ridge for all tasks.

    Differences: the authors train the backbone on the first half of the classes, here it is pre-trained (or adapted in
    the first task: ``[first_session, acil]``); an image that occurs again does not count again.

    Args:
        projection: M, the units of the random layer (authors: 8,192; the memory is M^2 numbers of eight bytes).
        ridge: The ridge, gamma (authors: 0.1, for the features of their ResNets).
        solver: ``recursive`` (authors), or ``sums``: the matrix G itself is kept, and the same regression is solved
            after each task. It is faster for tasks of more than about M / 3 images.
        batch: Images of a recursive update (authors: 4,096); it changes no result beyond rounding.
        layer: The draws of the layer: ``uniform``, as of PyTorch's linear layers (authors), or ``normal``: the
            projection that `ranpac` draws with the same seed.
    """

    traits = Traits(
        memory=("statistics",),
        gradient_free=True,
        scores="regression",
        unsupported_scenarios={"domain_incremental": MIXED, "blurry": MIXED, "power_law": MIXED},
        paper="Zhuang, NeurIPS 2022 (ACIL)",
    )

    def __init__(
        self,
        projection: int = 8192,
        ridge: float = 0.1,
        solver: Literal["recursive", "sums"] = "recursive",
        batch: int = 256,
        layer: Literal["uniform", "normal"] = "uniform",
    ) -> None:
        check_range("acil", at_least=1, projection=projection, batch=batch)
        check_range("acil", above=0, ridge=ridge)
        super().__init__(projection, ridge, solver, batch, layer)
