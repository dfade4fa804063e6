"""DUCT: task vectors added to the pre-trained weights, and old classifiers transported after them."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.plugin import Batch, Learner, Plugin, Scenario, Task, Traits, UserError, check_range, classification_loss
from clsuite.plugin.helpers import (
    entropic_transport,
    full_precision,
    set_weights,
    task_vector,
    tensor_bytes,
    weights_of,
)

BELOW_ALL = -10.0  # of a class that has no row yet, less than any cosine


class DUCT(Plugin):
    """Every task starts from the pre-trained weights; what each adds is summed up, and old rows of the head follow.

    Zhou et al., "Dual consolidation for pre-trained model-based domain-incremental learning" (CVPR 2025):

    * The backbone starts from the pre-trained weights and is trained with rows of the head of the task's own, by a
      cosine head and the cross-entropy over the task's classes.
    * Representation: what the task added to the weights, times ``scale`` and the mean over its classes of the cosine
      of a class's mean feature before and after, is added to what the earlier tasks added, whatever their order.
    * Classifier: the task's rows are trained again on the features of that backbone. Then entropic optimal transport
      from the task's classes to those of each earlier one, at the cost of the distance of their means in the
      pre-trained network, carries the new rows to the old classes: ``(1 - share) * old + share * transported``.
    * Running statistics (ViTs have none) become the mean of those of the tasks, by the same factors, and of the first
      ones, by what these leave of 1: by a sum of changes, variances could be negative.

    In domain-incremental streams, the paper's, each domain has rows of its own, the best of which is a class's score.
    In the authors' port to others (PILOT), exponentials of distances of tens over 0.02 are all 0: nothing is
    transported. Here logarithms are added. Its transported rows are sums over weights of 1/n, here weighted means; its
    new rows start from 0, here from N(0, 0.02); its rates are 0.1 and, in the first five epochs, a third of it.

    Args:
        lr: Learning rate of the backbone (authors: a hundredth of the head's).
        head_lr: Learning rate of the head (authors: 0.1).
        scale: What a task vector is multiplied with (authors: 0.25).
        share: Share of the transported rows (authors: 0.25).
        regularization: Strength of the entropy in the transport (authors: 0.02).
        cost: Distances of means as they are (``distance``, authors), or divided by the largest one (``relative``).
        epochs: Of the second training (authors: 5); 0 leaves it out.
        retrain_lr: Its learning rate, with the momentum of the first (authors: 0.1/3 in effect).
        weight_decay: Its weight decay (authors: 5e-4).
    """

    traits = Traits(
        requires=("gradient",),
        memory=("weights", "prototypes"),
        incompatible_with={
            "all data": "joint training has nothing to merge",
            "freezes_backbone": "the backbone is frozen: a task adds nothing to its weights",
            "blocks": "the backbone is frozen but for its new blocks",
            "weights": "each task starts from the pre-trained weights, and both would say what they become",
            "importances": "each task starts from the pre-trained weights, and not from those that importances hold",
            "masks": "the weights are merged at a task's end, also those that a mask protects",
            "exemplars": "each task trains rows of its own, among which earlier tasks' classes have none",
            "logits": "each task trains rows of its own, among which earlier tasks' classes have none",
            "statistics": "they would be of features of rows and weights that a later task merges",
        },
        second_pass="it passes a task's images through the network again to merge",
        training={
            "loss": "local",
            "head": "cosine",
            "head_scale": 1.0,
            "head_init": 0.02,
            "optimizer": {"name": "sgd", "momentum": 0.9, "weight_decay": 5e-4},
        },
        paper="Zhou, CVPR 2025 (DUCT)",
        effects=("changes weights", "trains by itself"),
    )
    state = ("_added", "_total", "_means", "_rows", "_classes")

    def __init__(
        self,
        lr: float = 1e-3,
        head_lr: float = 0.1,
        scale: float = 0.25,
        share: float = 0.25,
        regularization: float = 0.02,
        cost: Literal["distance", "relative"] = "distance",
        epochs: int = 5,
        retrain_lr: float = 0.0333,
        weight_decay: float = 5e-4,
    ) -> None:
        super().__init__()
        check_range("duct", above=0, lr=lr, head_lr=head_lr, retrain_lr=retrain_lr)
        check_range("duct", at_least=1e-4, regularization=regularization)
        check_range("duct", at_least=0, scale=scale, epochs=epochs, weight_decay=weight_decay)
        check_range("duct", at_least=0, at_most=1, share=share)
        self.lr, self.head_lr, self.scale, self.share = lr, head_lr, scale, share
        self.regularization, self.cost = regularization, cost
        self.epochs, self.retrain_lr, self.weight_decay = epochs, retrain_lr, weight_decay

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Keep the pre-trained weights; a head that is none of cosines is refused."""
        if learner.options.head != "cosine":
            raise UserError(f"duct: training.head is {learner.options.head}, but must be cosine, as rows are mixed")
        self._start = weights_of(learner.backbone)
        self._added = {name: torch.zeros_like(value) for name, value in self._start.items()}
        self._total, self._classes = 0.0, list[list[int]]()
        self._means = self._rows = torch.zeros(0, learner.backbone.width)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Give the pre-trained weights back, with new rows in the head, and compute the means of the classes."""
        self._put(learner, self._start)
        learner.optimizer_policy.forget()  # also where it is carried on: its weights are gone
        if task.index:
            learner.head.reset(learner.generator("duct head"))
        self._new_means = self._class_means(learner, task)

    def parameter_groups(self, learner: Learner) -> list[dict[str, Any]]:
        """The backbone with the slow rate, and the head with the fast one."""
        parts = ((learner.backbone, self.lr), (learner.head, self.head_lr))
        return [{"params": [v for v in part.parameters() if v.requires_grad], "lr": lr} for part, lr in parts]

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Merge the backbone, train the task's rows again, and transport them to the classes of earlier tasks."""
        alike = F.cosine_similarity(self._new_means, self._class_means(learner, task)).mean().item()
        self._merge(learner, self.scale * alike)
        self._retrain(learner, task)
        new, sizes = rows_of(learner)[list(task.classes)], [len(classes) for classes in self._classes]
        old = zip(self._rows.split(sizes), self._means.split(sizes), strict=True)
        moved = [self._follow(rows, means, new) for rows, means in old]
        self._rows, self._means = torch.cat([*moved, new]), torch.cat([self._means, self._new_means])
        self._classes.append(list(task.classes))

    def _merge(self, learner: Learner, share: float) -> None:
        """Add a share of what the task added; running statistics become a mean of the tasks' and the first ones."""
        weights, positive, merged = dict(learner.backbone.named_parameters()), max(share, 0.0), {}
        self._total += positive
        for name, value in task_vector(learner.backbone, self._start).items():
            part, whole = (share, 1.0) if name in weights else (positive, max(self._total, 1.0))
            self._added[name] = self._added[name].to(value.device) + part * value
            merged[name] = self._start[name].to(value.device) + self._added[name] / whole
        self._put(learner, merged)

    @staticmethod
    def _put(learner: Learner, weights: dict[str, Tensor]) -> None:
        set_weights(learner, {f"backbone.{name}": value for name, value in weights.items()})

    @staticmethod
    def _class_means(learner: Learner, task: Task) -> Tensor:
        """Mean features ``[classes of the task, width]`` by the present weights."""
        features, labels = learner.features_of(task.train).cpu(), learner.labels_of(task.train).cpu()
        return torch.stack([features[labels == label].mean(dim=0) for label in task.classes])

    def _retrain(self, learner: Learner, task: Task) -> None:
        """Train the head on the features of the merged backbone."""
        features, labels = learner.features_of(task.train), learner.labels_of(task.train)
        head, generator = list(learner.head.parameters()), learner.generator("duct")
        optimizer = torch.optim.SGD(head, self.retrain_lr, learner.options.optimizer.momentum, 0.0, self.weight_decay)
        for _ in range(self.epochs):
            for chosen in torch.randperm(len(labels), generator=generator).split(learner.options.batch_size):
                logits, own = learner.head(features[chosen]), labels[chosen]
                optimizer.zero_grad()
                classification_loss(logits, own, learner.options.loss, task.classes).backward()
                optimizer.step()
                learner.count_gradients(len(chosen))
        optimizer.zero_grad()

    def _follow(self, rows: Tensor, means: Tensor, new: Tensor) -> Tensor:
        """The rows of one earlier task, mixed with those that are transported to its classes."""
        cost = torch.cdist(self._new_means.double(), means.double())
        if self.cost == "relative":
            cost = cost / cost.max().clamp_min(torch.finfo(cost.dtype).tiny)
        weights = len(rows) * entropic_transport(cost, self.regularization)
        return torch.lerp(rows, (weights.T @ new.double()).float(), self.share)

    def predict(self, learner: Learner, batch: Batch) -> Tensor | None:
        """Scaled cosine to the best row of each class, ``[B, seen classes]``."""
        if not self._classes:
            return None
        features, classes = learner.encode(batch).float(), [label for own in self._classes for label in own]
        with full_precision(features):
            cosines = F.normalize(features, dim=1) @ F.normalize(self._rows, dim=1).to(features.device).T
        best = cosines.new_full((len(features), learner.seen), BELOW_ALL)
        index = torch.tensor(classes, device=features.device).expand_as(cosines)
        return learner.head.get_parameter("scale") * best.scatter_reduce(1, index, cosines, "amax")

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the pre-trained weights and of what is added to them, and of the rows and means."""
        kept = {"weights": (self._start, self._added), "prototypes": (self._rows, self._means)}
        return {kind: tensor_bytes(values) for kind, values in kept.items()}


def rows_of(learner: Learner) -> Tensor:
    """The rows of the head ``[C, width]``, on the CPU."""
    groups = [learner.head.group_parameters(number)[0].detach() for number in range(len(learner.head.sizes))]
    return torch.cat(groups).cpu().clone()
