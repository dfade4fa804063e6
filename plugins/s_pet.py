"""One module per task, selected at test time by the nearest centroid (S-Prompts and S-LoRA)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional as F

from clsuite.peft import PET, FrozenQuery, PetKind, attach_pet, only
from clsuite.plugin import Batch, GrowingHead, Learner, Plugin, Scenario, Task, Traits, check_range, fill_defaults
from clsuite.plugin.helpers import full_precision, tensor_bytes

BELOW_ALL = 1e4
"""Subtracted from the logits of other tasks' classes; a class that no classifier knows gets twice its negative."""


class SPet(Plugin):
    """Each task trains a module and a classifier of its own; a test image is given those of the nearest centroid.

    S-Prompts: Wang et al., "S-Prompts learning with pre-trained transformers: an Occam's razor for domain incremental
    learning" (NeurIPS 2022), section 3. S-LoRA: Wistuba et al., "Choice of PEFT technique in continual learning: prompt
    tuning is not all you need" (2024).

    After a task, k-means on the frozen network's L2-normalized features of its images gives the task's centroids. At
    test time the nearest centroid of all tasks selects module and classifier of each image. The classifier has outputs
    for its own task's classes only; all others score below them. In both papers' codes the cross-entropy is over the
    task's classes, and heads begin as PyTorch's linear layers. S-Prompts' code clusters features of augmented images.

    Args:
        pet: ``prompt`` is S-Prompts, ``lora`` S-LoRA; ``adapter``, ``prefix``, ``ia3``, ``adaptformer``, ``ssf`` work.
        size: Tokens, rank, bottleneck or length. By default 10 tokens (S-Prompts) or length 10, else 1; S-LoRA's rank
            is not in its authors' public code.
        blocks: The blocks that get a module; prompts enter at the first. By default ``0`` for prompts, else ``all``.
        targets: For LoRA only: projections among ``q``, ``k``, ``v``, ``proj``, ``fc1``, ``fc2``, joined by ``+``; null
            takes ``q+v``.
        adapter_scale: For AdaptFormer only: what its output is multiplied with (authors: 0.1).
        adapter_dropout: For AdaptFormer only: dropout probability of its hidden units in training (authors: 0.1).
        clusters: Number of centroids of a task (paper: 5).
        classifier: ``own``: each task has one (papers). ``shared``: one head for all, which costs about ten points in
            domain-incremental streams. A zero-shot head is the same for all tasks.
        head_start: For own classifiers: ``fresh``: newly initialized (papers), or ``last``: from the last task's.
        distance: Distance to the centroids: ``euclidean`` (Renate, the code base of S-LoRA's authors) or ``manhattan``
            (S-Prompts' code).
        prompt_init: For prompts only, their first values: ``linear`` (S-Prompts' code, U(-1/sqrt(width),
            1/sqrt(width)), the default), ``unit`` and ``small`` (L2P's) or ``xavier`` (VPT's).
    """

    traits = Traits(
        freezes_backbone=True,
        requires=("vit",),
        memory=("modules", "prototypes"),
        second_pass="it clusters the task's images after training on them",
        training={"loss": "local", "head_init": "uniform"},
        defaults_by={
            "pet": {
                "prompt": {"size": 10, "blocks": "0", "prompt_init": "linear"},
                "lora": {"size": 1, "blocks": "all", "targets": "q+v"},
                "adapter": {"size": 1, "blocks": "all"},
                "prefix": {"size": 10, "blocks": "all"},
                "ia3": {"size": 1, "blocks": "all"},
                "adaptformer": {"size": 1, "blocks": "all", "adapter_scale": 0.1, "adapter_dropout": 0.1},
                "ssf": {"size": 1, "blocks": "all"},
            }
        },
        paper="Wang, NeurIPS 2022 (S-Prompts); Wistuba, 2024 (S-LoRA)",
        effects=("adds modules",),
    )
    state = ("_centroids", "_owners")

    def __init__(
        self,
        pet: PetKind = "prompt",
        size: int | None = None,
        blocks: str | None = None,
        targets: str | None = None,
        clusters: int = 5,
        classifier: Literal["own", "shared"] = "own",
        head_start: Literal["fresh", "last"] = "fresh",
        distance: Literal["euclidean", "manhattan"] = "euclidean",
        prompt_init: Literal["unit", "small", "xavier", "linear"] | None = None,
        adapter_scale: float | None = None,
        adapter_dropout: float | None = None,
    ) -> None:
        super().__init__()
        check_range("s_pet", at_least=1, clusters=clusters)
        self._build = fill_defaults(
            "s_pet", self.traits, pet=pet, size=size, blocks=blocks, targets=targets, prompt_init=prompt_init,
            adapter_scale=adapter_scale, adapter_dropout=adapter_dropout,
        )  # fmt: skip
        self._build["kind"] = self._build.pop("pet")
        self.clusters, self.classifier, self.head_start, self.distance = clusters, classifier, head_start, distance
        self.modules: list[PET] = []
        self._centroids, self._owners = torch.zeros(0, 0), torch.zeros(0, dtype=torch.int64)
        self._heads: list[GrowingHead] = []

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone. A zero-shot head has no weights of a single task, and is shared by all."""
        self._owns = self.classifier == "own" and isinstance(learner.head, GrowingHead)
        learner.backbone.requires_grad_(False)
        self.modules, self._heads = [], []
        self._query = FrozenQuery(learner, self.modules)

    def rebuild_modules(self, learner: Learner, tasks: int) -> None:
        """Create the modules of the first tasks again."""
        for index in range(tasks):
            self._add(learner, index)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Create the task's module and, with own classifiers, its classifier; freeze the other modules."""
        self._add(learner, task.index)
        if task.index and self._owns and self.head_start == "fresh":
            learner.head.reset(learner.generator("s_pet head"))
            learner.optimizer_policy.forget("head.")  # also where it is carried on: the head begins anew

    def _add(self, learner: Learner, index: int) -> None:
        for module in self.modules:
            module.rest()
        generator = learner.generator("s_pet", index)
        self.modules.append(attach_pet(learner, self, f"task{index}", generator=generator, **self._build))

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Compute the task's centroids and, with own classifiers, keep its classifier."""
        features = F.normalize(self._query.of_rows(task.train), dim=1).cpu().numpy()
        seed = learner.generator("k-means").initial_seed() % 2**31
        found = KMeans(min(self.clusters, len(features)), n_init=10, random_state=seed).fit(features)
        centroids = torch.from_numpy(found.cluster_centers_).float()
        owners = torch.full((len(centroids),), task.index)
        self._centroids = torch.cat([self._centroids, centroids]) if len(self._owners) else centroids
        self._owners = torch.cat([self._owners, owners])
        if self._owns:
            assert isinstance(learner.head, GrowingHead)
            self._heads.append(rows_of_head(learner.head, list(task.classes)))

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Logits ``[B, seen classes]``, of each image by the module and the classifier of the task selected for it."""
        if not len(self._owners):
            answer: Tensor = learner.head(learner.encode(batch)).float()
            return answer
        query = F.normalize(self._query.of_batch(batch), dim=1)
        power = 1.0 if self.distance == "manhattan" else 2.0
        nearest = torch.cdist(query, self._centroids.to(query.device), p=power).argmin(dim=1)
        owners = self._owners.to(query.device)[nearest]
        logits = torch.zeros(len(batch), learner.seen, device=query.device)
        for index in owners.unique().tolist():
            own = (owners == index).nonzero().flatten()
            logits[own] = self._answer(learner, batch, own, index)
        return logits

    def _answer(self, learner: Learner, batch: Batch, own: Tensor, index: int) -> Tensor:
        assert batch.images is not None
        with learner.autocast(), only(self.modules, index):
            features: Tensor = learner.backbone(batch.images[own]).float()
        if not self._owns:
            answer: Tensor = learner.head(features)[:, : learner.seen].float()
            return answer
        logits = torch.full((len(own), learner.seen), -2 * BELOW_ALL, device=features.device)
        order = [*(number for number in range(len(self._heads)) if number != index), index]
        for number in order:  # the selected task comes last, and overwrites other tasks' logits of its classes
            classes = list(learner.scenario.tasks[number].classes)
            with full_precision(features):
                answers = self._heads[number].to(features.device)(features)
            logits[:, classes] = answers if number == index else answers - BELOW_ALL
        return logits

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of modules, centroids and stored classifiers."""
        modules = super().stored_bytes()["modules"] + tensor_bytes(self._heads)
        return {"modules": modules, "prototypes": tensor_bytes([self._centroids, self._owners])}

    def state_dict(self) -> dict[str, Any]:
        """Centroids and stored classifiers; the modules are saved with the learner."""
        heads = [{"classes": head.classes, "state": head.state_dict()} for head in self._heads]
        return super().state_dict() | {"heads": heads}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the centroids and the stored classifiers."""
        super().load_state_dict(state_dict)
        self._heads = [self._head(kept["classes"], kept["state"]) for kept in state_dict["heads"]]

    def _head(self, classes: int, state: dict[str, Tensor]) -> GrowingHead:
        head = GrowingHead(state["groups.0.weight"].shape[1], cosine="scale" in state)
        head.grow(classes, torch.Generator())
        head.load_state_dict(state)
        return head.requires_grad_(False)


@torch.no_grad()
def rows_of_head(head: GrowingHead, classes: list[int]) -> GrowingHead:
    """A copy of a head with some of its classes, in the given order, in one group."""
    copy = GrowingHead(head.width, head.cosine)
    copy.grow(len(classes), torch.Generator())
    whole = [list(group.parameters()) for group in head.groups]
    for mine, parts in zip(copy.groups[0].parameters(), zip(*whole, strict=True), strict=True):
        mine.copy_(torch.cat(parts)[classes])
    if copy.scale is not None and head.scale is not None:
        copy.scale.copy_(head.scale)
    return copy.to(next(head.parameters()).device).requires_grad_(False)
