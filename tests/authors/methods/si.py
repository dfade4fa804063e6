"""Synaptic intelligence: Zenke, Poole & Ganguli, ICML 2017."""

import torch

from clsuite.plugin import Plugin, Traits


class SI(Plugin):
    """Holds parameters near their last values, each as firmly as the loss fell along its path (equations 3 to 5)."""

    traits = Traits(memory=("importances",), paper="Zenke, ICML 2017 (SI)")

    def __init__(self, c: float = 1.0, xi: float = 0.001) -> None:
        super().__init__()
        self.c, self.xi, self.omega, self.anchor = c, xi, {}, {}

    def on_task_start(self, learner, task):
        self.path = {name: torch.zeros_like(value) for name, value in self._trained(learner).items()}
        self.start = {name: value.detach().clone() for name, value in self._trained(learner).items()}

    def loss(self, learner, step):
        trained = self._trained(learner)
        terms = [
            (omega.to(learner.device) * (trained[name] - self.anchor[name].to(learner.device)).square()).sum()
            for name, omega in self.omega.items()
        ]
        return self.c * sum(terms) if terms else None

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.before = {
            name: (value.detach().clone(), value.grad.clone())
            for name, value in self._trained(pl_module).items()
            if value.grad is not None
        }

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        trained = self._trained(pl_module)
        for name, (value, gradient) in self.before.items():
            self.path[name] -= gradient * (trained[name].detach() - value)

    def on_task_end(self, learner, task):
        for name, value in self._trained(learner).items():
            moved = (value.detach() - self.start[name]).square()
            fresh = (self.path[name] / (moved + self.xi)).clamp_min(0)
            self.omega[name] = fresh + self.omega.get(name, torch.zeros(1)).to(fresh)
            self.anchor[name] = value.detach().clone()

    @staticmethod
    def _trained(learner):
        return {name: value for name, value in learner.named_parameters() if value.requires_grad}

    def stored_bytes(self):
        return {"importances": sum(value.nbytes for kept in (self.omega, self.anchor) for value in kept.values())}

    def state_dict(self):
        return {"omega": self.omega, "anchor": self.anchor}

    def load_state_dict(self, state_dict):
        self.omega, self.anchor = state_dict["omega"], state_dict["anchor"]
