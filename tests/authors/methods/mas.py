"""Memory aware synapses: Aljundi et al., ECCV 2018."""

import torch

from clsuite.plugin import Plugin, Traits


class MAS(Plugin):
    """Holds parameters near their last values, as firmly as the outputs' squared norm depends on them (equation 3)."""

    traits = Traits(memory=("importances",), paper="Aljundi, ECCV 2018 (MAS)")

    def __init__(self, penalty: float = 1.0, samples: int = 200) -> None:
        super().__init__()
        self.penalty, self.samples, self.omega, self.anchor = penalty, samples, {}, {}

    def loss(self, learner, step):
        trained = dict(learner.named_parameters())
        terms = [
            (omega.to(learner.device) * (trained[name] - self.anchor[name].to(learner.device)).square()).sum()
            for name, omega in self.omega.items()
        ]
        return self.penalty * sum(terms) if terms else None

    def on_task_end(self, learner, task):
        generator = learner.generator("mas")
        rows = task.train[torch.randperm(len(task.train), generator=generator)[: self.samples].numpy()]
        trained = {name: value for name, value in learner.named_parameters() if value.requires_grad}
        fresh = {name: torch.zeros_like(value) for name, value in trained.items()}
        learner.eval()
        for row in rows:
            image = learner.backbone.normalize(learner.images_of(row[None]).to(learner.device))
            norm = learner(image).square().sum()
            for name, gradient in zip(trained, torch.autograd.grad(norm, list(trained.values())), strict=True):
                fresh[name] += gradient.abs() / len(rows)
        learner.train()
        learner.gradient_samples += len(rows)
        self.omega = {name: value + self.omega.get(name, torch.zeros(1)).to(value) for name, value in fresh.items()}
        self.anchor = {name: value.detach().clone() for name, value in trained.items()}

    def stored_bytes(self):
        return {"importances": sum(value.nbytes for kept in (self.omega, self.anchor) for value in kept.values())}

    def state_dict(self):
        return {"omega": self.omega, "anchor": self.anchor}

    def load_state_dict(self, state_dict):
        self.omega, self.anchor = state_dict["omega"], state_dict["anchor"]
