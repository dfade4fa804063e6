"""Dark experience replay: Buzzega et al., NeurIPS 2020 (DER++)."""

import torch
from torch.nn import functional as F

from clsuite.data.buffer import ExemplarBuffer
from clsuite.plugin import Plugin, Traits


class DERpp(Plugin):
    """Replays exemplars with the logits they had when they were stored, and with their labels (equation 6)."""

    traits = Traits(memory=("exemplars", "logits"), paper="Buzzega, NeurIPS 2020 (DER++)")

    def __init__(self, capacity: int = 200, alpha: float = 0.3, beta: float = 0.5) -> None:
        super().__init__()
        self.buffer, self.alpha, self.beta = ExemplarBuffer(capacity, "reservoir"), alpha, beta

    def on_task_start(self, learner, task):
        self.draws = learner.generator("derpp")
        self.offered = torch.zeros(len(learner.scenario.table), dtype=torch.bool)

    def loss(self, learner, step):
        loss = self._rehearse(learner, step) if len(self.buffer) else None
        self._offer(learner, step)
        return loss

    def _rehearse(self, learner, step):
        chosen, again = self._pass(learner, step)
        stored = self.buffer.logits[chosen][:, : again.logits.shape[1]].to(again.logits.device)
        known = ~stored.isnan()
        loss = self.alpha * F.mse_loss(again.logits.float()[known], stored[known])
        _, other = self._pass(learner, step)
        return loss + self.beta * F.cross_entropy(other.logits.float(), other.batch.labels)

    def _pass(self, learner, step):
        chosen = self.buffer.sample_indices(len(step.batch), self.draws)
        learner.gradient_samples += len(chosen)
        return chosen, learner.rehearse(self.buffer.batch(chosen, step.batch.images is not None))

    def _offer(self, learner, step):
        rows, logits = step.batch.indices.cpu(), step.logits.detach().float().cpu()
        new = ~self.offered[rows] & ~step.batch.replayed.cpu()
        self.offered[rows[new]] = True
        padded = torch.full((int(new.sum()), len(learner.scenario.classes)), float("nan"))
        padded[:, : logits.shape[1]] = logits[new]
        images = learner.images_of(rows[new].numpy())
        self.buffer.add(images, step.batch.labels.cpu()[new], rows[new], self.draws, logits=padded)

    def stored_bytes(self):
        return {"exemplars": self.buffer.bytes, "logits": self.buffer.logit_bytes}

    def state_dict(self):
        return self.buffer.state_dict()

    def load_state_dict(self, state_dict):
        self.buffer.load_state_dict(state_dict)
