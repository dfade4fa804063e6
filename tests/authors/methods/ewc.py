"""Elastic weight consolidation: Kirkpatrick et al., PNAS 2017; one running sum of Fisher diagonals (Huszar 2018)."""

import torch
from torch.nn import functional as F

from clsuite.plugin import Plugin, Traits


class EWC(Plugin):
    """Holds parameters near their last values, each as firmly as its Fisher information says (equation 3)."""

    traits = Traits(memory=("importances",), paper="Kirkpatrick, PNAS 2017 (EWC)")

    def __init__(self, penalty: float = 1000.0, samples: int = 200) -> None:
        super().__init__()
        self.penalty, self.samples, self.fisher, self.anchor = penalty, samples, {}, {}

    def loss(self, learner, step):
        trained = dict(learner.named_parameters())
        terms = [
            (fisher.to(learner.device) * (trained[name] - self.anchor[name].to(learner.device)).square()).sum()
            for name, fisher in self.fisher.items()
        ]
        return self.penalty / 2 * sum(terms) if terms else None

    def on_task_end(self, learner, task):
        generator = learner.generator("fisher")
        rows = task.train[torch.randperm(len(task.train), generator=generator)[: self.samples].numpy()]
        trained = {name: value for name, value in learner.named_parameters() if value.requires_grad}
        fresh = {name: torch.zeros_like(value) for name, value in trained.items()}
        learner.eval()
        for row in rows:
            image = learner.backbone.normalize(learner.images_of(row[None]).to(learner.device))
            loss = F.cross_entropy(learner(image), learner.labels_of(row[None]))
            for name, gradient in zip(trained, torch.autograd.grad(loss, list(trained.values())), strict=True):
                fresh[name] += gradient.square() / len(rows)
        learner.train()
        learner.gradient_samples += len(rows)
        self.fisher = {name: value + self.fisher.get(name, torch.zeros(1)).to(value) for name, value in fresh.items()}
        self.anchor = {name: value.detach().clone() for name, value in trained.items()}

    def stored_bytes(self):
        return {"importances": sum(value.nbytes for kept in (self.fisher, self.anchor) for value in kept.values())}

    def state_dict(self):
        return {"fisher": self.fisher, "anchor": self.anchor}

    def load_state_dict(self, state_dict):
        self.fisher, self.anchor = state_dict["fisher"], state_dict["anchor"]
