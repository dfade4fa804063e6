"""Averaged gradient episodic memory: Chaudhry et al., ICLR 2019."""

import torch
from torch.nn import functional as F

from clsuite.data.buffer import ExemplarBuffer
from clsuite.plugin import Plugin, Traits


class AGEM(Plugin):
    """Projects the gradient so that the exemplars' mean loss does not rise (equation 11)."""

    traits = Traits(memory=("exemplars",), paper="Chaudhry, ICLR 2019 (A-GEM)")

    def __init__(self, capacity: int = 200, batch_size: int = 64) -> None:
        super().__init__()
        self.buffer, self.batch_size = ExemplarBuffer(capacity, "reservoir"), batch_size

    def on_task_start(self, learner, task):
        self.draws = learner.generator("agem")

    def on_after_backward(self, trainer, pl_module):
        if not len(self.buffer):
            return
        moved = [value for value in pl_module.parameters() if value.grad is not None]
        chosen = self.buffer.batch(
            self.buffer.sample_indices(self.batch_size, self.draws), not pl_module.uses_cached_features
        )
        step = pl_module.rehearse(chosen)
        loss = F.cross_entropy(step.logits.float(), step.batch.labels)
        reference = torch.autograd.grad(loss, moved, allow_unused=True, materialize_grads=True)
        pl_module.gradient_samples += len(step.batch)
        overlap = sum((value.grad * other).sum() for value, other in zip(moved, reference, strict=True))
        if overlap < 0:
            size = sum(other.square().sum() for other in reference)
            for value, other in zip(moved, reference, strict=True):
                value.grad -= overlap / size * other

    def on_task_end(self, learner, task):
        labels, rows = learner.labels_of(task.train).cpu(), torch.from_numpy(task.train)
        self.buffer.add(learner.images_of(task.train), labels, rows, self.draws)

    def stored_bytes(self):
        return {"exemplars": self.buffer.bytes}

    def state_dict(self):
        return self.buffer.state_dict()

    def load_state_dict(self, state_dict):
        self.buffer.load_state_dict(state_dict)
