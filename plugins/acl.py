"""ACL: adapt the whole network to a task before a continual learning method learns it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.plugin import Learner, Plugin, Scenario, Task, Traits, UserError, check_range
from clsuite.plugin.helpers import full_precision, refuse_unscaled


class ACL(Plugin):
    """Adapts all weights to each task's images, before the other plugins learn the task.

    Lu et al., "Adapt before continual learning" (AAAI 2026). Before every task, the first too, the prototype of each of
    its classes is computed: the normalized mean of the features of its images. For one epoch all weights that the
    features depend on are then trained, the modules of other plugins included: each image's feature is drawn towards
    the prototype of its class and away from the others by the cross-entropy of cosines divided by a temperature. The
    prototypes stay fixed, and there is no schedule. Then everything is frozen again that was frozen, and the method
    goes on from the adapted weights: ``[acl, ranpac]``, ``[acl, l2p]``, ``[acl, finetune]``.

    As in the authors' code, what the method has kept of earlier tasks (prototypes, statistics) stays as it is although
    the network has moved: this is what the method pays. Methods that choose between modules which earlier tasks have
    trained on the network as it was are refused, and so are those whose modules are made when a task starts, which is
    after the adaptation; DualPrompt, which the authors have, is one of them here.

    * The authors compute the prototypes from augmented images. Here no image is augmented, so that the prototypes are
      those of the images themselves, and do not depend on random draws.
    * With L2P the authors keep the original network for the queries. Here queries come from the adapted one: a second
      network is not kept.

    Args:
        lr: Learning rate (authors: 1e-4 with RanPAC, FeCAM, SimpleCIL, SSIAT and MOS; 1e-6 with L2P and DualPrompt).
        epochs: Passes over the task's images (paper: 1).
        temperature: What cosines are divided by (paper: 0.1).
        optimizer: ``sgd`` (authors), or ``adam``, which they take with the methods that are trained by it.
        momentum: Of ``sgd`` (authors: 0.9).
        weight_decay: By default that of the training (as the authors').
        batch_size: Images of a batch; by default that of the training. (Authors: 128.)
    """

    traits = Traits(
        incompatible_with={
            "all data": "joint training starts from the pre-trained weights at each task, not from adapted ones",
            "blocks": "the blocks that are to stay as they were would be adapted too",
            "masks": "the weights that are to stay as they were would be adapted too",
            "adds modules": "modules of earlier tasks, and what is kept of them, belong to the network as it was then",
            "select_indices": "all images of a task are adapted to, and not those alone that another plugin chooses",
            "rebuild_modules": "modules that a task's start makes are not there yet when the network is adapted to it",
        },
        second_pass="it adapts the network to a task's images before the task is learned",
        paper="Lu, AAAI 2026 (ACL)",
    )

    def __init__(
        self,
        lr: float = 1e-4,
        epochs: int = 1,
        temperature: float = 0.1,
        optimizer: Literal["sgd", "adam"] = "sgd",
        momentum: float = 0.9,
        weight_decay: float | None = None,
        batch_size: int | None = None,
    ) -> None:
        super().__init__()
        check_range("acl", at_least=0, lr=lr, weight_decay=weight_decay)
        check_range("acl", at_least=0, below=1, momentum=momentum)
        check_range("acl", at_least=1, epochs=epochs, batch_size=batch_size)
        check_range("acl", above=0, temperature=temperature)
        self.lr, self.epochs, self.temperature, self.batch_size = lr, epochs, temperature, batch_size
        self.optimizer, self.momentum, self.weight_decay = optimizer, momentum, weight_decay

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Refuse what it cannot train with.

        Raises:
            UserError: If its steps cannot have the precision, or a task has a single class, whose loss would be 0.
        """
        refuse_unscaled("acl", learner.options.precision)
        for task in scenario.tasks:
            if len(task.classes) == 1:
                raise UserError(f"acl: the task '{task.name}' has one class: adapting to it, among its own prototypes, "
                                "has a loss of 0: give tasks more classes")  # fmt: skip

    def before_task_training(self, learner: Learner, task: Task) -> None:
        """Train all weights towards the prototypes of the task's classes."""
        prototypes, places = class_prototypes(learner.features_of(task.train), learner.labels_of(task.train))
        learner.requires_grad_(True)
        learner.head.requires_grad_(False)
        optimizer = self._make_optimizer(learner)
        for _ in range(self.epochs):
            for batch in learner.batches_of(task.train, batch_size=self.batch_size):
                features = learner.step_of(batch).features.float()
                with full_precision(features):
                    cosines = F.normalize(features, dim=1) @ prototypes.T
                    loss = F.cross_entropy(cosines / self.temperature, places[batch.labels])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                learner.count_gradients(len(batch))
                learner.forget_features()  # queries of prompts are those of the network as it is now

    def _make_optimizer(self, learner: Learner) -> torch.optim.Optimizer:
        """An optimizer of all weights but the head's, on which features do not depend."""
        parameters = [value for name, value in learner.named_parameters() if not name.startswith("head.")]
        decay = learner.options.optimizer.weight_decay if self.weight_decay is None else self.weight_decay
        if self.optimizer == "adam":
            return torch.optim.Adam(parameters, lr=self.lr, weight_decay=decay)
        return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum, weight_decay=decay)


def class_prototypes(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Normalized mean features of classes.

    Args:
        features: ``[N, width]``.
        labels: ``[N]``.

    Returns:
        Prototypes ``[K, width]`` of the classes that occur, and of each class, up to the largest, its place among them.
    """
    present, inverse = labels.unique(return_inverse=True)
    sums = features.new_zeros(len(present), features.shape[1]).index_add_(0, inverse, features)
    places = labels.new_zeros(int(present[-1]) + 1)
    places[present] = torch.arange(len(present), device=labels.device)
    return F.normalize(sums / labels.bincount()[present][:, None], dim=1), places
