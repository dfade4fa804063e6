"""EASE: an adapter for each task, and class prototypes in the subspaces of all of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.peft import PET, PetKind, attach_pet, only
from clsuite.plugin import Batch, Learner, Plugin, Scenario, Task, Traits, UserError, check_range, fill_defaults
from clsuite.plugin.helpers import FeatureStore, compute_features, full_precision

BELOW_ALL = -10.0


class EASE(Plugin):
    """Each task trains an adapter of its own; classes are compared with prototypes in every adapter's subspace.

    Zhou et al., "Expandable subspace ensemble for pre-trained model-based class-incremental learning" (CVPR 2024). No
    exemplars are kept.

    * Section 4.1: the backbone and older adapters are frozen. A new adapter and a new head are trained on the task's
      classes only. As in the authors' code (PILOT), it is a cosine head with a learned scale that starts at 1 in each
      task. An image has one feature vector in the subspace of each adapter.
    * Section 4.2: the prototype of a class is its mean feature, in the subspace of its own task and of all earlier
      tasks. In later subspaces its images are no longer available, so its prototype is synthesized from the classes
      that have prototypes there (equations 8 and 9): the mean of their prototypes, weighted by the softmax of their
      cosines to the class in the class's own subspace. As in the authors' code (``recalc_sim``), these are the classes
      of the task of that subspace and of all later tasks.
    * Section 4.3: the score of a class is the cosine in its own subspace plus ``alpha`` times the mean of its cosines
      in the others (equation 10 adds them up; the authors' code divides the sum by their number).

    Every class must come in one task only. The features of the test images in each subspace are kept while a run lasts,
    so that they are computed once: tasks x test images x width numbers on the compute device.

    Args:
        pet: ``adaptformer`` (the authors' adapter), ``adapter`` (beside the MLP), ``lora``, ``prefix``, ``prompt``,
            ``ia3`` or ``ssf``.
        size: Bottleneck, rank or length. By default 64 hidden units (authors), 5 tokens, rank 8 or 10 pairs.
        blocks: The transformer blocks that get a module: ``all`` (the paper's, and the default), ``0-4``, ``0,2,5``.
        alpha: Weight of the other subspaces. (Paper: 0.1.)
        adapter_scale: For AdaptFormer only: what its output is multiplied with (authors: 0.1).
        adapter_dropout: For AdaptFormer only: dropout probability of its hidden units in training (authors: 0.1).
    """

    traits = Traits(
        freezes_backbone=True,
        requires=("vit",),
        memory=("modules", "prototypes"),
        incompatible_with={
            "weights": "the prototypes would not belong to the weights that are evaluated",
            "on_task_exit": "features are kept by image, and would be of weights that stand in for an evaluation",
        },
        scenarios=("class_incremental", "task_incremental", "long_tailed", "cross_domain", "avalanche"),
        training={"loss": "local", "head": "cosine", "head_scale": 1.0, "head_init": "uniform"},
        scores="cosine",
        defaults_by={
            "pet": {
                "adaptformer": {"size": 64, "blocks": "all", "adapter_scale": 0.1, "adapter_dropout": 0.1},
                "adapter": {"size": 64, "blocks": "all"},
                "lora": {"size": 8, "blocks": "all"},
                "prefix": {"size": 10, "blocks": "all"},
                "prompt": {"size": 5, "blocks": "all"},
                "ia3": {"size": 1, "blocks": "all"},
                "ssf": {"size": 1, "blocks": "all"},
            }
        },
        paper="Zhou, CVPR 2024 (EASE)",
        effects=("adds modules",),
    )
    state = ("_means", "_owners")

    def __init__(
        self,
        pet: PetKind = "adaptformer",
        size: int | None = None,
        blocks: str | None = None,
        alpha: float = 0.1,
        adapter_scale: float | None = None,
        adapter_dropout: float | None = None,
    ) -> None:
        super().__init__()
        check_range("ease", at_least=0, alpha=alpha)
        of_adapter = {"adapter_scale": adapter_scale, "adapter_dropout": adapter_dropout}
        self._build = fill_defaults("ease", self.traits, pet=pet, size=size, blocks=blocks, **of_adapter)
        self._build["kind"] = self._build.pop("pet")
        self.alpha = alpha

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone.

        Raises:
            UserError: If a class comes in several tasks: its prototypes would be computed from one of them only.
        """
        classes = [label for task in scenario.tasks for label in task.classes]
        if len({*classes}) < len(classes):
            raise UserError(
                "ease: a class of the stream comes in several tasks, and each class belongs to one subspace"
            )
        learner.backbone.requires_grad_(False)
        self.modules: list[PET] = []
        self._stores: list[FeatureStore] = []
        self._means = torch.zeros(len(scenario.classes), len(scenario.tasks), learner.backbone.width)
        self._owners = torch.full((len(scenario.classes),), -1)

    def rebuild_modules(self, learner: Learner, tasks: int) -> None:
        """Create the modules of the first tasks again."""
        for index in range(tasks):
            self._add(learner, index)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Create the task's module and a new head, and freeze the other modules."""
        self._add(learner, task.index)
        if task.index:
            learner.head.reset(learner.generator("ease head"))
            learner.optimizer_policy.forget("head.")  # also where it is carried on: the head begins anew

    def _add(self, learner: Learner, index: int) -> None:
        for module in self.modules:
            module.rest()
        place = "mlp" if self._build["kind"] == "adapter" else None
        generator = learner.generator("ease", index)
        self.modules.append(attach_pet(learner, self, f"task{index}", generator=generator, place=place, **self._build))
        self._stores.append(FeatureStore(learner.scenario))

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Compute the prototypes of the task's classes in all subspaces, and of older classes in the new one."""
        labels = learner.labels_of(task.train).cpu()
        for subspace in range(len(self.modules)):
            with learner.autocast(), only(self.modules, subspace):
                features = compute_features(learner.backbone, learner.scenario.table.images, task.train)
            for label in task.classes:
                self._means[label, subspace] = features[labels == label].mean(dim=0).cpu()
        self._owners[list(task.classes)] = task.index
        self._prototypes = synthesize(self._means, self._owners)

    @torch.no_grad()
    def _features(self, learner: Learner, subspace: int, batch: Batch) -> Tensor:
        """Features ``[B, width]`` of test images in the subspace of one task; computed once for each image."""
        indices = batch.indices.cpu().numpy()
        with learner.autocast(), only(self.modules, subspace):
            if (indices >= 0).all():
                self._stores[subspace].add(learner.backbone, indices)
                return self._stores[subspace].lookup(batch.indices)
            assert batch.images is not None
            features: Tensor = learner.backbone(batch.images)
            return features.float()

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Weighted cosines ``[B, seen classes]``; the head's logits until the first task has been learned."""
        learned, seen = int(self._owners.max()) + 1, learner.seen
        if not learned:
            answer: Tensor = learner.head(learner.encode(batch))[:, :seen].float()
            return answer
        owners = self._owners[:seen]
        logits = torch.zeros(len(batch), seen, device=batch.labels.device)
        for subspace in range(learned):
            features = F.normalize(self._features(learner, subspace, batch), dim=1)
            prototypes = F.normalize(self._prototypes[:seen, subspace], dim=1).to(features.device)
            weights = torch.where(owners == subspace, 1.0, self.alpha / max(1, learned - 1)).to(features.device)
            with full_precision(features):
                logits = logits + weights * (features @ prototypes.T)
        return logits.masked_fill((owners < 0).to(logits.device), BELOW_ALL * (1 + self.alpha))

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the modules, and of each class's means in the subspaces of its own and of earlier tasks."""
        kept = int((self._owners + 1).sum()) * self._means.shape[2]
        return super().stored_bytes() | {"prototypes": 4 * kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the means and the task of each class, and compute the prototypes from them."""
        super().load_state_dict(state_dict)
        self._prototypes = synthesize(self._means, self._owners)


def synthesize(means: Tensor, owners: Tensor) -> Tensor:
    """Fill in the prototypes of classes in the subspaces of later tasks (equations 8 and 9).

    Args:
        means: Class means ``[C, T, width]``, valid in the subspaces up to the class's own task.
        owners: Task of each class ``[C]``; -1 for a class that has not been learned.

    Returns:
        Prototypes ``[C, T, width]``, valid in the subspaces of all tasks learned so far.
    """
    filled = means.clone()
    for old in range(int(owners.max())):
        mine = owners == old
        for subspace in range(old + 1, int(owners.max()) + 1):
            donors = owners >= subspace
            cosines = F.normalize(means[mine, old], dim=1) @ F.normalize(means[donors, old], dim=1).T
            filled[mine, subspace] = cosines.softmax(dim=1) @ means[donors, subspace]
    return filled
