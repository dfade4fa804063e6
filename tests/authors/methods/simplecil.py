"""SimpleCIL: Zhou et al., IJCV 2024, section 4.1."""

import torch
from torch.nn import functional as F

from clsuite.plugin import Plugin, Traits


class SimpleCIL(Plugin):
    """Classifies by the cosine to the class means of frozen features."""

    traits = Traits(memory=("prototypes",), gradient_free=True, paper="Zhou, IJCV 2024 (SimpleCIL)")

    def on_stream_start(self, learner, scenario):
        learner.backbone.requires_grad_(False)
        self.sums = torch.zeros(len(scenario.classes), learner.backbone.width)

    def on_task_end(self, learner, task):
        self.sums.index_add_(0, learner.labels_of(task.train).cpu(), learner.features_of(task.train).cpu())

    def predict(self, learner, batch):
        means = F.normalize(self.sums[: learner.head.classes], dim=1).to(learner.device)
        return F.normalize(learner.encode(batch).float(), dim=1) @ means.T

    def stored_bytes(self):
        return {"prototypes": self.sums[self.sums.any(dim=1)].nbytes}

    def state_dict(self):
        return {"sums": self.sums}

    def load_state_dict(self, state_dict):
        self.sums = state_dict["sums"]
