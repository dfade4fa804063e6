"""Two methods that work."""

from clsuite.plugin import Plugin, Traits


class Shrink(Plugin):
    """Adds the size of the logits to the loss."""

    traits = Traits(paper="nobody, 2026")
    api = 1

    def __init__(self, alpha: float = 0.1) -> None:
        super().__init__()
        self.alpha = alpha

    def loss(self, learner, step):
        return self.alpha * step.logits.square().mean()


class Grow(Shrink):
    """Takes the size of the logits from the loss."""

    def loss(self, learner, step):
        return -super().loss(learner, step)
