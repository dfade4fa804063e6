"""A pool of modules from which entries are chosen for each image (L2P and L2L)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsuite.peft import PetKind, Prompt, PromptKeys, Route, RoutedByQuery, attach_pet, first_values
from clsuite.plugin import Batch, Learner, Plugin, Scenario, Step, Task, Traits, UserError, check_range, fill_defaults


class L2P(Plugin):
    """Every image is given the entries of a pool whose keys are the most similar to its frozen features.

    L2P: Wang et al., "Learning to prompt for continual learning" (CVPR 2022), section 4. L2L: Wistuba et al., "Choice
    of PEFT technique in continual learning: prompt tuning is not all you need" (2024), where the entries are LoRAs.

    * The query is the frozen network's feature of the image (section 4.2).
    * The entries with the `top_k` most similar keys by cosine are chosen for each image separately; no task is given.
    * Their tokens are concatenated (equation 4). In the same way LoRAs (their sum), adapters and prefixes act together
      as one module of their joint size. Head and prompts learn from the loss, and keys are pulled towards the queries
      that chose them by ``- similarity * sum of the chosen keys' cosines`` (equation 5).
    * With `diversify`, the cosine distance to a key is multiplied, in training, by how often earlier tasks chose it
      (section 4.2, equation 6). One is added to each count, so that the nearest of the keys that were never chosen
      comes first.
    * With prompts, the head gets the mean of the outputs of the prompt tokens (section 4.1).

    As in the authors' code, the cross-entropy is over the classes of the current task only, and the head is initialized
    with zeros.

    Args:
        pet: ``prompt`` is L2P, ``lora`` is L2L; ``adapter``, ``prefix``, ``ia3``, ``adaptformer`` and ``ssf`` work too.
        size: Tokens (rank, bottleneck, length) of an entry. By default 10 tokens (L2P's code; its ports: 5), or rank 1,
            so that the five LoRAs of an image have rank 5; L2L's rank is not in its authors' public code.
        pool: Number of entries. (L2P and L2L: 10.)
        top_k: Number of entries that an image is given. By default 4 for prompts (L2P's code; its ports: 5), or 5 for
            other kinds (L2L's authors).
        blocks: The transformer blocks that get a module; prompts enter at the first of them. By default ``0`` for
            prompts (L2P), else ``all``.
        targets: For LoRA only: projections among ``q``, ``k``, ``v``, ``proj``, ``fc1``, ``fc2``, joined by ``+``; null
            takes ``q+v``.
        adapter_scale: For AdaptFormer only: what its output is multiplied with (authors: 0.1).
        adapter_dropout: For AdaptFormer only: dropout probability of its hidden units in training (authors: 0.1).
        similarity: Weight of the loss that pulls the keys. By default 1 for prompts (L2P's code), else 0.1 (L2L's
            authors).
        diversify: Whether later tasks are steered to other entries. (L2P: optional, where task boundaries are known in
            training.)
        selection: ``sample``: each image uses the entries that it chooses. ``batch``: in training, all images of a
            batch use the entries that most of them chose, as in L2P's code. In evaluation each image always uses its
            own choice: a vote would reveal the task of a test set that is sorted by task.
        head_input: For prompts only: ``prompts``, or ``backbone``, the features that the network itself would give.
            Null takes ``prompts``.
        prompt_init: For prompts only, their first values. ``unit``: U(-1, 1), as in the ports to PyTorch, PILOT and
            Renate (the code base of L2L's authors). ``small``: U(0, 0.01), as in the JAX code, which needs many more
            steps (1,560 a task there); with 100 steps a task the prompts' outputs are hardly features yet. ``xavier``
            is VPT's, ``linear`` S-Prompts'. Null takes ``unit``.
        key_init: First values of the keys: ``unit`` or ``small``, as in the same codes.
        query: ``plain``: the query of a training image is computed once, without augmentation, which is our saving.
            ``augmented``: it is computed from the augmented image at each step, as in all authors' codes.
    """

    traits = Traits(
        freezes_backbone=True,
        requires=("vit",),
        memory=("modules",),
        training={"loss": "local", "head_init": 0.0},
        defaults_by={
            "pet": {
                "prompt": {
                    "size": 10,
                    "blocks": "0",
                    "top_k": 4,
                    "similarity": 1.0,
                    "head_input": "prompts",
                    "prompt_init": "unit",
                },
                "lora": {"size": 1, "blocks": "all", "top_k": 5, "similarity": 0.1, "targets": "q+v"},
                "adapter": {"size": 1, "blocks": "all", "top_k": 5, "similarity": 0.1},
                "prefix": {"size": 5, "blocks": "all", "top_k": 5, "similarity": 0.1},
                "ia3": {"size": 1, "blocks": "all", "top_k": 5, "similarity": 0.1},
                "adaptformer": {
                    "size": 1,
                    "blocks": "all",
                    "top_k": 5,
                    "similarity": 0.1,
                    "adapter_scale": 0.1,
                    "adapter_dropout": 0.1,
                },
                "ssf": {"size": 1, "blocks": "all", "top_k": 5, "similarity": 0.1},
            }
        },
        paper="Wang, CVPR 2022 (L2P); Wistuba, 2024 (L2L)",
    )
    state = ("_chosen_before",)

    def __init__(
        self,
        pet: PetKind = "prompt",
        size: int | None = None,
        pool: int = 10,
        top_k: int | None = None,
        blocks: str | None = None,
        targets: str | None = None,
        similarity: float | None = None,
        diversify: bool = False,
        selection: Literal["sample", "batch"] = "sample",
        head_input: Literal["prompts", "backbone"] | None = None,
        prompt_init: Literal["unit", "small", "xavier", "linear"] | None = None,
        key_init: Literal["unit", "small"] = "unit",
        query: Literal["plain", "augmented"] = "plain",
        adapter_scale: float | None = None,
        adapter_dropout: float | None = None,
    ) -> None:
        super().__init__()
        of_pet = fill_defaults(
            "l2p", self.traits, pet=pet, size=size, top_k=top_k, blocks=blocks, targets=targets, similarity=similarity,
            head_input=head_input, prompt_init=prompt_init, adapter_scale=adapter_scale,
            adapter_dropout=adapter_dropout,
        )  # fmt: skip
        self.pet, self.pool = pet, pool
        self.top_k, self.similarity = int(of_pet["top_k"]), float(of_pet["similarity"])
        if not 1 <= self.top_k <= pool:
            raise UserError(f"l2p: top_k is {self.top_k}, but must be between 1 and the {pool} entries of the pool")
        check_range("l2p", at_least=0, similarity=self.similarity)
        of_module = ("size", "blocks", "targets", "prompt_init", "adapter_scale", "adapter_dropout")
        self._build = {name: of_pet[name] for name in of_module}
        self.diversify, self.selection, self.head_input = diversify, selection, of_pet["head_input"]
        self.key_init, self.query = key_init, query
        self._chosen_before, self._chosen_now = torch.zeros(pool), torch.zeros(pool)

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone, attach the pool and create its keys."""
        build = {**self._build, "generator": learner.generator("l2p"), "entries": self.pool}
        self.module = attach_pet(learner, self, "module", self.pet, **build)
        if isinstance(self.module, Prompt):
            self.module.pooled = self.head_input == "prompts"
        keys = first_values(self.key_init, (self.pool, learner.backbone.width), build["generator"])
        self.keys = PromptKeys({"key": nn.Parameter(keys)})
        learner.register_plugin_module(self, "keys", self.keys)
        self._routed = RoutedByQuery(learner, [self.module], self._route, self.query)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Compute the queries of the task's images."""
        self._routed.prepare(task)

    def on_before_forward(self, learner: Learner, batch: Batch) -> None:
        """Note which images have a precomputed query."""
        self._routed.expect(batch)

    def _route(self, query: Tensor, replayed: Tensor | None) -> None:
        training = replayed is not None
        chosen = self._choose(self._cosines(query), training)
        self.module.route = Route(chosen, self.pool)
        if training and self.diversify:
            self._chosen_now += chosen.flatten().bincount(minlength=self.pool).cpu()

    def _cosines(self, query: Tensor) -> Tensor:
        """Cosine ``[B, pool]`` of each query with each key."""
        return (F.normalize(query, dim=1)[:, None] * F.normalize(self.keys["key"], dim=1)).sum(dim=2)

    def _choose(self, cosines: Tensor, training: bool) -> Tensor:
        """Indices ``[B, top_k]`` of the entries of each image."""
        scores = cosines.detach()
        if training and self.diversify:
            frequency = (self._chosen_before + 1).to(scores.device)
            scores = -(1 - scores) * frequency / frequency.sum()
        chosen = scores.topk(self.top_k, dim=1).indices
        if not training or self.selection == "sample":
            return chosen
        votes = chosen.flatten().bincount(minlength=self.pool)
        return votes.argsort(descending=True, stable=True)[: self.top_k].expand(len(chosen), -1)

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """Loss that pulls the chosen keys towards the queries (equation 5)."""
        cosines = self._cosines(self._routed.of_step(step.batch))
        chosen = self._choose(cosines, training=True)
        pull: Tensor = cosines.gather(1, chosen).sum(dim=1).mean()
        return -self.similarity * pull

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Add the number of times that the task chose each entry to the counts of earlier tasks."""
        self._chosen_before, self._chosen_now = self._chosen_before + self._chosen_now, torch.zeros(self.pool)

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the pool, of its keys and, with `diversify`, of the counts."""
        stored = super().stored_bytes()
        return {"modules": stored["modules"] + (4 * self.pool if self.diversify else 0)}
