"""RSIAT: SSIAT whose first session shapes the features, and whose later ones hold them through an autoencoder."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsuite.peft import PET, attach_pet, only
from clsuite.plugin import Learner, Scenario, Step, Task, check_range
from clsuite.plugin.helpers import full_precision, groups_by_rate

from .ssiat import SSIAT


class RSIAT(SSIAT):
    """Steers the features of the first session, and aligns those of later ones with what they were.

    Zhao et al., "Representation-steered incremental adapter-tuning for class-incremental learning with pre-trained
    models" (CVPR 2026), and the authors' code. Adapter, head, shift of the means and alignment are those of `ssiat`.

    * First session: the loss has ``steering`` times the mean of ``max(0, 1 - cosine)`` over pairs of images of one
      class, plus ``apart`` times the mean of ``max(0, cosine - apart_margin)`` over the other pairs of a batch. Its
      weight grows in equal steps during a share of the session.
    * Later sessions: the features that the adapter gave at the session's start pass through an autoencoder that adds to
      them (layers with GELU, a sigmoid at the end), made once and trained further. The mean squared distance of the new
      features to those, times ``consistency``, is a loss, and so is ``orthogonality`` times the mean cosine of those to
      the means of older classes, which pass through the autoencoder too.

    The weight of the steering grows with the steps (code: with the epochs, from 0 in the first one). The code pairs
    features before and after a session of different images, as SSIAT's does; see there. The features at the session's
    start are without dropout. The authors tune all arguments for each data set; the defaults are those of CIFAR-100,
    where the first session takes 10 epochs at a rate of 0.01 and later ones 30 at 0.0185, with 64 images and a decay of
    1.7e-4; their alignment has the rate and the decay of the training.

    Args:
        scale: Scale of the cosines, not trained (authors: 40; 20 to 50).
        margin: What is taken off the true class's cosine in training (authors: 0.1; 0.1 to 0.3).
        align_epochs: Epochs of the alignment (authors: 10).
        steering: Weight of the first session's loss (authors: 0.2).
        warm_up: Share of the first session during which it grows (authors: 7 of 10 epochs).
        apart: Weight of pairs of different classes in it (authors: 0.5; 1.5 on ImageNet-R).
        apart_margin: Cosine up to which these count nothing (authors: 0.3; 0.5 on ImageNet-R).
        consistency: Weight of the distance to the earlier features (authors: 1; 3 on ImageNet-R).
        orthogonality: Weight of their cosines to older means (authors: 0.4; 1.5 on ImageNet-R).
        code: Length of the autoencoder's code (authors: 256; 384 on ImageNet-R).
        hidden: Units of the layers on both sides of it (authors: 64).
        autoencoder_lr: Its learning rate (authors: 5.6e-4).
        autoencoder_decay: Its weight decay (authors: 2.9e-3).
        size: Hidden units of the adapter (authors: 64), as of `ssiat` like all that follow.
        blocks: The transformer blocks that get an adapter.
        first_epochs: Epochs of the first task; by default the training's.
        later_epochs: Epochs of later tasks; by default the training's.
        sigma: Width of the weights of a shift.
        sigma_kind: ``absolute``, or ``relative`` to the median distance.
        floor: What is added to each weight.
        align_lr: Learning rate of the alignment at the start.
        samples: Features drawn for each class in an epoch, and features in a batch.
        ridge: Added to the variances for the draws.
        align_decay: Weight decay of the alignment.
        least_factor: Where the factor of older classes' means begins.
        adapter_scale: What an adapter's output is multiplied with.
        adapter_dropout: Dropout probability of an adapter's hidden units in training.
    """

    traits = dataclasses.replace(SSIAT.traits, paper="Zhao, CVPR 2026 (RSIAT)")

    def __init__(
        self,
        scale: float = 40.0,
        margin: float = 0.1,
        align_epochs: int = 10,
        steering: float = 0.2,
        warm_up: float = 0.7,
        apart: float = 0.5,
        apart_margin: float = 0.3,
        consistency: float = 1.0,
        orthogonality: float = 0.4,
        code: int = 256,
        hidden: int = 64,
        autoencoder_lr: float = 5.6e-4,
        autoencoder_decay: float = 2.9e-3,
        **others: Any,
    ) -> None:
        super().__init__(scale=scale, margin=margin, align_epochs=align_epochs, **others)
        check_range("rsiat", at_least=0, steering=steering, warm_up=warm_up, apart=apart, apart_margin=apart_margin)
        check_range("rsiat", at_least=0, consistency=consistency, orthogonality=orthogonality)
        check_range("rsiat", at_least=0, autoencoder_decay=autoencoder_decay)
        check_range("rsiat", at_least=1, code=code, hidden=hidden)
        check_range("rsiat", above=0, autoencoder_lr=autoencoder_lr)
        self.steering, self.warm_up, self.apart, self.apart_margin = steering, warm_up, apart, apart_margin
        self.consistency, self.orthogonality, self.code, self.hidden = consistency, orthogonality, code, hidden
        self._of_autoencoder = {"lr": autoencoder_lr, "weight_decay": autoencoder_decay}

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Attach the adapter and what it was at a session's start, and make the autoencoder."""
        super().on_stream_start(learner, scenario)
        adapter = self.registered_modules["adapter"]
        assert isinstance(adapter, PET)
        build = {"size": self.size, "blocks": self.blocks, **self._adapter, "adapter_dropout": 0.0}
        before = attach_pet(learner, self, "before", "adaptformer", generator=torch.Generator(), **build)
        before.rest()
        self.adapters = adapter, before
        generator, width = learner.generator("rsiat autoencoder"), learner.backbone.width
        self.autoencoder = ResidualAutoencoder(width, self.hidden, self.code, generator)
        learner.register_plugin_module(self, "autoencoder", self.autoencoder, role="features")

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Keep the adapter as it is; the autoencoder is trained from the second session on."""
        super().on_task_start(learner, task)
        adapter, before = self.adapters
        before.copy_from(adapter)
        self.autoencoder.requires_grad_(task.index > 0)
        self._older = self._gaussians.means.to(learner.device)

    def parameter_groups(self, learner: Learner) -> list[dict[str, Any]]:
        """The adapter and the head with the rates of the training, and the autoencoder with its own."""
        own = list(self.autoencoder.parameters())
        known = {id(value) for value in own}
        groups = groups_by_rate(learner, learner.options.optimizer, [learner.head])
        groups = [{**one, "params": [value for value in one["params"] if id(value) not in known]} for one in groups]
        return [*groups, {"params": own, **self._of_autoencoder}] if own[0].requires_grad else groups

    def loss(self, learner: Learner, step: Step) -> Tensor:
        """In the first session that of pairs; later, how far the features are from what they were."""
        assert learner.task is not None
        features = step.features.float()
        if not learner.task.index:
            steps = self.warm_up * int(learner.trainer.estimated_stepping_batches)
            share = min(1.0, learner.trainer.global_step / steps) if steps else 1.0
            return self.steering * share * steered(features, step.batch.labels, self.apart, self.apart_margin)
        with torch.no_grad(), only(self.adapters, 1):
            before = learner.encode(step.batch).float()
        with full_precision(features):
            mapped, means = self.autoencoder(before), self.autoencoder(self._older)
            cosines = F.normalize(means, dim=1) @ F.normalize(mapped, dim=1).T
            return self.consistency * F.mse_loss(features, mapped) + self.orthogonality * cosines.mean()

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the adapter and the autoencoder, and of the class statistics; the copy is made at a task's start."""
        sizes = super().stored_bytes()
        return sizes | {"modules": sizes["modules"] - 4 * self.adapters[1].numel}


class ResidualAutoencoder(nn.Module):
    """What it is given plus a sigmoid of four layers with GELU between them."""

    def __init__(self, width: int, hidden: int, code: int, generator: torch.Generator) -> None:
        """Draw the first values as PyTorch does, from a source of one's own.

        Args:
            width: Length of a feature.
            hidden: Units of the first and the third layer.
            code: Units of the second.
            generator: Source of the first values.
        """
        super().__init__()
        sizes = (width, hidden, code, hidden, width)
        self.layers = nn.ModuleList([nn.utils.skip_init(nn.Linear, *pair) for pair in pairwise(sizes)])
        with torch.no_grad():
            for layer, inputs in zip(self.layers, sizes, strict=False):
                for value in layer.parameters():
                    value.uniform_(-(inputs**-0.5), inputs**-0.5, generator=generator)

    def forward(self, features: Tensor) -> Tensor:
        """Features ``[B, width]`` that stand for the given ones."""
        hidden = features
        for layer in self.layers[:-1]:
            hidden = F.gelu(layer(hidden))
        added: Tensor = self.layers[-1](hidden).sigmoid()
        return features + added


def steered(features: Tensor, labels: Tensor, apart: float, margin: float) -> Tensor:
    """How far features ``[B, width]`` of one class are apart, and how near those of others are.

    Args:
        features: Of a batch.
        labels: Their classes.
        apart: Weight of pairs of different classes.
        margin: Cosine up to which these count nothing.
    """
    with full_precision(features):
        cosines = F.normalize(features, dim=1) @ F.normalize(features, dim=1).T
    same = labels[:, None] == labels
    others, pairs = ~same, same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    terms = ((1 - cosines).relu() * pairs, pairs), ((cosines - margin).relu() * others, others)
    near, far = (values.sum() / chosen.sum().clamp_min(1) for values, chosen in terms)
    return near + apart * far
