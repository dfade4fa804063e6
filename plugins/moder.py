"""A hub of textual experts, one for each class, that are composed for classes not seen yet (MoDER)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.peft import PET, MixedRoute, attach_text_pet
from clsuite.plugin import Batch, Learner, Plugin, Scenario, Task, Traits, check_range
from clsuite.plugin.helpers import ClassGaussians, ClassTexts, clip_of, full_precision, one_against_rest, tensor_bytes


class MoDER(Plugin):
    """Trains an expert of the text tower for each class, and composes experts of similar classes for unseen ones.

    Panariello et al., "Modular embedding recomposition for incremental learning" (BMVC 2025). Its abstract: a hub of
    textual experts, one for each seen class; for an unseen class, retrieved experts are composed to a prototype.
    **All that follows is ours**, after the same laboratory's generative replay of features for CLIP (CGIL):

    * An expert is a LoRA of one class in the text tower. Both towers are frozen. At a task's end the experts of its new
      classes are trained on frozen image features: for each class the logistic loss of ``scale * (cosine - middle)``,
      mean over its own features plus mean over others: those of the task's other classes, and of older ones, drawn from
      Gaussians around centroids. `middle` is between the cosines of own and other features of the first task.
    * The prototype of a seen class is its text feature under its own expert. For an unseen class, the softmax of the
      cosines of its frozen text feature to those of the `retrieved` nearest seen classes, divided by `temperature`,
      mixes the low-rank matrices of their experts; its prototype is its text feature under this mixture, or the frozen
      one where the nearest cosine is below `nearness`.

    Args:
        rank: Rank of an expert.
        targets: Projections of the text tower among ``q``, ``k``, ``v``, ``proj``, ``fc1``, ``fc2``, joined by ``+``.
        epochs: Passes over a task's features.
        batch_size: Features of a step, besides drawn ones.
        lr: Learning rate (Adam).
        scale: Factor of the cosines in the loss.
        centroids: Gaussians of a class.
        draws: Features drawn from each Gaussian of older classes in a step.
        retrieved: Experts that are composed for an unseen class.
        temperature: Of the softmax over their cosines.
        nearness: Least cosine to the nearest seen class above which experts are composed.
    """

    traits = Traits(
        requires=("clip",),
        memory=("modules", "statistics"),
        pet=("lora",),
        gradient_free=True,
        open_vocabulary=True,
        second_pass="it trains experts on the features of a task's images, several times over",
        paper="Panariello, BMVC 2025 (MoDER)",
        effects=("trains by itself",),
    )
    state = ("_prototypes", "_middle", "_statistics")

    def __init__(
        self,
        rank: int = 4,
        targets: str = "q+v",
        epochs: int = 10,
        batch_size: int = 128,
        lr: float = 1e-3,
        scale: float = 30.0,
        centroids: int = 5,
        draws: int = 1,
        retrieved: int = 5,
        temperature: float = 0.02,
        nearness: float = 0.0,
    ) -> None:
        super().__init__()
        check_range("moder", at_least=1, rank=rank, batch_size=batch_size, centroids=centroids, retrieved=retrieved)
        check_range("moder", at_least=0, epochs=epochs, draws=draws)
        check_range("moder", above=0, lr=lr, scale=scale, temperature=temperature)
        check_range("moder", at_least=-1, at_most=1, nearness=nearness)
        self.rank, self.targets, self.epochs, self.batch_size = rank, targets, epochs, batch_size
        self.lr, self.scale, self.centroids, self.draws, self.retrieved = lr, scale, centroids, draws, retrieved
        self.temperature, self.nearness = temperature, nearness

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the CLIP, and begin an empty hub."""
        clip = clip_of(learner.backbone, "plugin 'moder'").requires_grad_(False)
        self._texts = ClassTexts(clip, scenario.class_names)
        self._hub, self._modules = list[list[int]](), list[PET]()
        self._prototypes, self._middle = torch.zeros(0, clip.width), 0.0
        self._statistics = ClassGaussians(clip.width, "centroids", centroids=self.centroids)

    def rebuild_modules(self, learner: Learner, tasks: int) -> None:
        """Create the experts of the first tasks again."""
        for task in learner.scenario.tasks[:tasks]:
            self._add(learner, task)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Freeze the head, which is not used, and add an expert for each new class."""
        learner.head.requires_grad_(False)
        self._add(learner, task)

    def _add(self, learner: Learner, task: Task) -> None:
        known = {label for classes in self._hub for label in classes}
        new = sorted(set(task.classes) - known)
        self._hub.append(new)
        if new:
            build: dict[str, Any] = {"size": self.rank, "blocks": "all", "targets": self.targets, "entries": len(new)}
            generator = learner.generator("moder", task.index)
            module = attach_text_pet(learner, self, f"experts{task.index}", "lora", generator=generator, **build)
            module.rest()
            self._modules.append(module)

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Train the experts of the new classes, and compute the prototypes of all classes of the stream."""
        if new := self._hub[task.index]:
            self._learn(learner, task, new)
        with torch.no_grad():
            self._prototypes = self._compose(learner).cpu()

    def _learn(self, learner: Learner, task: Task, new: list[int]) -> None:
        raw, labels = learner.features_of(task.train).float(), learner.labels_of(task.train)
        features = F.normalize(raw, dim=1)
        if not self._middle:
            self._middle = self._between(features, labels, new)
        draw = self._statistics.sampler() if len(self._statistics.labels) and self.draws else None
        experts = self._modules[-1].requires_grad_(True)
        optimizer = torch.optim.Adam(experts.parameters(), lr=self.lr)
        shares, draws = self._own_shares(new, learner.device), learner.generator("moder steps")
        for _ in range(self.epochs):
            for rows in torch.randperm(len(features), generator=draws).split(self.batch_size):
                batch, targets = features[rows.to(features.device)], labels[rows.to(labels.device)]
                if draw is not None:
                    drawn, of_drawn = (one.to(batch.device) for one in draw(self.draws, draws))
                    batch, targets = torch.cat([batch, F.normalize(drawn, dim=1)]), torch.cat([targets, of_drawn])
                loss = one_against_rest(batch @ self._under(new, shares).T, targets, new, self.scale, self._middle)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                learner.count_gradients(len(rows))
        optimizer.zero_grad()
        experts.requires_grad_(False)
        of_new = torch.isin(labels, torch.tensor(new, device=labels.device))
        self._statistics.add(raw[of_new], labels[of_new], learner.generator("moder statistics"))

    def _between(self, features: Tensor, labels: Tensor, new: Sequence[int]) -> float:
        """The middle between the mean cosines of features to the texts of their own and of other classes."""
        cosines = features @ self._texts.encode(new).T
        own = labels[:, None] == torch.tensor(new, device=labels.device)
        others = cosines[~own] if len(new) > 1 else cosines.new_zeros(1)
        return float((cosines[own].mean() + others.mean()) / 2)

    @property
    def _classes(self) -> list[int]:
        """The classes of the hub, in the order of the experts."""
        return [label for classes in self._hub for label in classes]

    def _own_shares(self, labels: Sequence[int], device: torch.device) -> Tensor:
        """Shares ``[len(labels), hub]`` of each class's own expert alone."""
        return (torch.tensor(labels)[:, None] == torch.tensor(self._classes)).float().to(device)

    def _under(self, labels: Sequence[int], shares: Tensor) -> Tensor:
        """Text features of some classes, each under experts with shares ``[len(labels), hub]``."""
        prompts = torch.tensor([self._texts.prompts(label) for label in labels], device=shares.device)
        with self._mixed(shares.repeat_interleave(prompts, dim=0)):
            return self._texts.encode(labels)

    @contextmanager
    def _mixed(self, shares: Tensor) -> Iterator[None]:
        sizes = [len(classes) for classes in self._hub if classes]
        for module, part in zip(self._modules, shares.split(sizes, dim=1), strict=True):
            module.enabled, module.route = bool(part.any()), MixedRoute.of(part)
        try:
            yield
        finally:
            for module in self._modules:
                module.release()
                module.enabled = False

    def _compose(self, learner: Learner) -> Tensor:
        """Prototypes ``[classes of the stream, width]``."""
        every = range(learner.scenario.seen_classes(len(learner.scenario.tasks)))
        hub, frozen = self._classes, self._texts.features(len(every))
        with full_precision(frozen):
            best = (frozen @ frozen[hub].T).topk(min(self.retrieved, len(hub)), dim=1)
            shares = (best.values / self.temperature).softmax(dim=1) * (best.values[:, :1] >= self.nearness)
        mixed = frozen.new_zeros(len(every), len(hub)).scatter(1, best.indices, shares)
        mixed[hub] = self._own_shares(hub, frozen.device)
        with torch.autocast(learner.device.type, enabled=False):
            parts = torch.arange(len(every)).split(self.batch_size)
            return torch.cat([self._under(part.tolist(), mixed[part.to(mixed.device)]) for part in parts])

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Scaled cosines ``[B, classes of the stream]`` to the prototypes; before the first task, to frozen texts."""
        features, clip = learner.encode(batch), clip_of(learner.backbone, "plugin 'moder'")
        if not len(self._prototypes):
            return self._texts.logits(features, learner.scenario.seen_classes(len(learner.scenario.tasks)))
        return clip.logits(features, self._prototypes.to(features.device))

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the experts and of the statistics."""
        return {"modules": tensor_bytes(list(self._modules)), "statistics": self._statistics.bytes}
