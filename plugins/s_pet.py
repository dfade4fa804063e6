"""One module per task, found again by nearest centroid (S-Prompts and S-LoRA)."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional as F

from clsuite.data.batch import Batch
from clsuite.errors import UserError
from clsuite.learner.head import GrowingHead
from clsuite.learner.learner import Learner
from clsuite.peft import PET, PetKind, build_pet
from clsuite.peft.query import FrozenQuery
from clsuite.plugin import Plugin, Traits
from clsuite.scenarios import Scenario, Task


class SPet(Plugin):
    """Each task trains a module of its own; a test image is given the module of the nearest centroid.

    S-Prompts: Wang et al., "S-Prompts learning with pre-trained transformers: an Occam's razor for domain incremental
    learning" (NeurIPS 2022), section 3; S-LoRA: Wistuba et al., "Choice of PEFT technique in continual learning:
    prompt tuning is not all you need" (2024). After a task k-means on the frozen network's L2-normalised features of
    its images gives its centroids; at test the nearest centroid of all tasks (Euclidean) chooses the module, for each
    image on its own. Both papers train with cross-entropy over the current task's classes: say
    ``training: {loss: local}``.

    Args:
        pet: ``prompt`` is S-Prompts, ``lora`` is S-LoRA; ``adapter`` and ``prefix`` work too.
        size: Tokens or rank. (S-Prompts: 10 tokens.)
        blocks: Where; a prompt enters at the first of them (S-Prompts: ``0``).
        targets: Of LoRA.
        clusters: Centroids of a task (paper: 5).
        classifier: ``shared`` (one head, the last), or ``own``: each task answers with the head as it left it.
    """

    traits = Traits(
        needs=("vit",),
        stores=("modules", "prototypes"),
        forbids={
            "all data": "joint training would start from the modules of the last task",
            "blocks": "both freeze the backbone and add to it",
            "masks": "the backbone is frozen: there is nothing to choose from",
            "modules": "both freeze the backbone and add to it",
        },
        refuses={
            "online": "it clusters the task's images after training on them, but the stream passes once",
            "blurry": "it clusters the task's images after training on them, but the stream passes once",
        },
        paper="Wang, NeurIPS 2022 (S-Prompts); Wistuba, 2024 (S-LoRA)",
        does=("adds modules",),
    )

    def __init__(
        self,
        pet: PetKind = "prompt",
        size: int = 10,
        blocks: str = "0",
        targets: str = "q+v",
        clusters: int = 5,
        classifier: Literal["shared", "own"] = "shared",
    ) -> None:
        super().__init__()
        if clusters < 1:
            raise UserError(f"s_pet: clusters is {clusters}, but must be at least 1")
        self.pet, self.size, self.blocks, self.targets = pet, size, blocks, targets
        self.clusters, self.classifier = clusters, classifier
        self.modules: list[PET] = []
        self._centroids, self._owners = torch.zeros(0, 0), torch.zeros(0, dtype=torch.int64)
        self._heads: list[GrowingHead] = []

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone.

        Raises:
            UserError: If tasks shall keep heads of their own, but the head has no weights.
        """
        if self.classifier == "own" and not isinstance(learner.head, GrowingHead):
            raise UserError("s_pet: classifier own keeps a head of each task; a zero_shot head has no weights to keep")
        learner.backbone.requires_grad_(False)
        self.modules = []
        self._query = FrozenQuery(learner, self.modules)

    def restore(self, learner: Learner, tasks: int) -> None:
        """Make the modules of the first tasks again."""
        for index in range(tasks):
            self._add(learner, index)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Make the task's module; the others rest."""
        self._add(learner, task.index)

    def _add(self, learner: Learner, index: int) -> None:
        generator = torch.Generator().manual_seed(learner.generator("s_pet", index).initial_seed())
        model = learner.backbone.model
        for module in self.modules:
            module.enabled = False
            module.requires_grad_(False)
        module = build_pet(
            self.pet, model, size=self.size, blocks=self.blocks, generator=generator, targets=self.targets
        )
        learner.add_module_of(self, f"task{index}", module)
        module.attach(model)
        self.modules.append(module)

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Find the task's centroids and keep the head where tasks answer with their own."""
        features = F.normalize(self._query.of_rows(task.train), dim=1).cpu().numpy()
        seed = learner.generator("k-means").initial_seed() % 2**31
        found = KMeans(min(self.clusters, len(features)), n_init=10, random_state=seed).fit(features)
        centroids = torch.from_numpy(found.cluster_centers_).float()
        owners = torch.full((len(centroids),), task.index)
        self._centroids = torch.cat([self._centroids, centroids]) if len(self._owners) else centroids
        self._owners = torch.cat([self._owners, owners])
        if self.classifier == "own":
            self._heads.append(copy.deepcopy(learner.head).requires_grad_(False))

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Logits ``[B, seen classes]``, each image by its own module."""
        if not len(self._owners):
            answer: Tensor = learner.head(learner.encode(batch)).float()
            return answer
        query = F.normalize(self._query.of_batch(batch), dim=1)
        nearest = torch.cdist(query, self._centroids.to(query.device)).argmin(dim=1)
        owners = self._owners.to(query.device)[nearest]
        logits = torch.full((len(batch), learner.head.classes), float("-inf"), device=query.device)
        for index in owners.unique().tolist():
            own = (owners == index).nonzero().flatten()
            answers = self._answer(learner, batch, own, index)
            logits[own, : answers.shape[1]] = answers
        return logits

    def _answer(self, learner: Learner, batch: Batch, own: Tensor, index: int) -> Tensor:
        assert batch.images is not None
        states = [module.enabled for module in self.modules]
        for number, module in enumerate(self.modules):
            module.enabled = number == index
        with learner.autocast():
            features: Tensor = learner.backbone(batch.images[own]).float()
        for module, state in zip(self.modules, states, strict=True):
            module.enabled = state
        head = learner.head if self.classifier == "shared" else self._heads[index].to(features.device)
        answer: Tensor = head(features).float()
        return answer

    def stored_bytes(self) -> dict[str, int]:
        """Modules and centroids, with the kept heads."""
        heads = sum(4 * value.numel() for head in self._heads for value in head.parameters())
        return {
            "modules": 4 * sum(module.numel for module in self.modules) + heads,
            "prototypes": 4 * self._centroids.numel() + 8 * len(self._owners),
        }

    def state_dict(self) -> dict[str, Any]:
        """Centroids and kept heads; the modules are saved with the learner."""
        heads = [{"sizes": head.sizes, "state": head.state_dict()} for head in self._heads]
        return {"centroids": self._centroids, "owners": self._owners, "heads": heads}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Centroids and kept heads."""
        self._centroids, self._owners = state_dict["centroids"], state_dict["owners"]
        self._heads = [self._head(kept["sizes"], kept["state"]) for kept in state_dict["heads"]]

    def _head(self, sizes: list[int], state: dict[str, Tensor]) -> GrowingHead:
        head = GrowingHead(state["groups.0.weight"].shape[1], cosine="scale" in state)
        for size in sizes:
            head.grow(size, torch.Generator())
        head.load_state_dict(state)
        return head.requires_grad_(False)
