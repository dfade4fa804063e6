"""Fine-tuning of selected parameters on exemplars, outside the training of tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsuite.data.buffer import ExemplarBuffer
from clsuite.errors import UserError, did_you_mean
from clsuite.learner.learner import Learner
from clsuite.learner.step import Step
from clsuite.learner.weight_swap import normalizations_of
from clsuite.private_api import batch_norm_class

NORMS = (nn.LayerNorm, nn.GroupNorm, batch_norm_class())
MODULE_KINDS = ("norm", "head", "bias", "patch_embed", "all")

ExtraLoss = Callable[[Step, Tensor], Tensor]


def select_parameters(learner: Learner, kinds: str) -> dict[str, nn.Parameter]:
    """Select the trainable parameters of kinds of modules, by name.

    Args:
        learner: The learner.
        kinds: Kinds joined by ``+``: ``norm`` (normalization layers), ``head``, ``bias``, ``patch_embed`` (the first
            layer; in a ResNet the first convolution) or ``all``.

    Raises:
        UserError: If a kind is unknown.
    """
    chosen: set[str] = set()
    for kind in kinds.replace(" ", "").split("+"):
        if kind not in MODULE_KINDS:
            raise did_you_mean("kind of module", kind, MODULE_KINDS)
        chosen |= set(_names_of(learner, kind))
    return {name: value for name, value in learner.named_parameters() if name in chosen and value.requires_grad}


def check_trained(plugin: str, learner: Learner, kinds: str) -> None:
    """Check that each given kind of module has trainable parameters, if the network has this kind at all.

    Args:
        plugin: Name of the plugin that tunes them, for the message.
        learner: The learner, with permanently frozen parameters.
        kinds: Kinds as for `select_parameters`.

    Raises:
        UserError: If a kind is completely frozen, or there is nothing to train.
    """
    asked = kinds.replace(" ", "").split("+")
    trained = {name for name, value in learner.named_parameters() if value.requires_grad}
    left = [kind for kind in asked if trained & {*_names_of(learner, kind)}]
    frozen = [kind for kind in asked if kind not in left and _names_of(learner, kind)]
    if frozen or not left:
        fix = f"write modules: {'+'.join(left)}" if left else "there is nothing to tune"
        raise UserError(f"{plugin}: modules: {kinds} includes '{(frozen or asked)[0]}', but all of it is frozen: {fix}")


def _names_of(learner: Learner, kind: str) -> list[str]:
    names = [name for name, _ in learner.named_parameters()]
    if kind == "norm":
        inside = [module for module, value in learner.named_modules() if isinstance(value, NORMS)]
        return [name for name in names if name.rpartition(".")[0] in inside]
    if kind == "head":
        return [name for name in names if name.startswith("head.")]
    if kind == "bias":
        return [name for name in names if name.endswith(".bias")]
    if kind == "patch_embed":
        patches = [name for name in names if ".patch_embed." in name]
        return patches or _first_convolution(learner)
    return names


def _first_convolution(learner: Learner) -> list[str]:
    """Names of the parameters of the first convolution, in a ResNet or in OpenCLIP's own towers."""
    for module, value in learner.named_modules():
        if isinstance(value, nn.Conv2d):
            return [f"{module}.{name}" for name, _ in value.named_parameters()]
    return []


def tune_on_exemplars(
    learner: Learner,
    parameters: Mapping[str, nn.Parameter],
    buffer: ExemplarBuffer,
    *,
    steps: int,
    batch_size: int,
    lr: float,
    momentum: float,
    generator: torch.Generator,
    extra: ExtraLoss | None = None,
) -> None:
    """Take SGD steps on exemplars that change only the given parameters.

    All other modules are in eval mode, so that their running statistics do not change. Batch normalizations with any of
    the parameters normalize by the exemplars and update their statistics. In precision 16, whose gradients are too
    small where nothing scales them, steps are computed in 32 bits.

    Args:
        learner: The learner.
        parameters: The parameters to train.
        buffer: The exemplars; nothing happens if there are none.
        steps: Number of SGD steps; the learning rate falls to zero by a cosine.
        batch_size: Number of exemplars per step.
        lr: Initial learning rate.
        momentum: Momentum of SGD.
        generator: Random number generator (on the CPU).
        extra: What is added to the cross-entropy, from the step and the positions of its exemplars in the buffer.
    """
    if not len(buffer) or not parameters or not steps:
        return
    if learner.uses_cached_features:
        learner.compute_known_features()
    values = list(parameters.values())
    optimizer = torch.optim.SGD(values, lr=lr, momentum=momentum)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    was_training = learner.training
    learner.eval()
    for normalization in normalizations_of(learner, parameters.keys()).values():
        normalization.train()
    kept, exact = [value.grad for value in values], learner.options.precision == "16"
    for _ in range(steps):
        chosen = buffer.sample_indices(batch_size, generator)
        step = learner.rehearse(buffer.batch(chosen, with_images=not learner.uses_cached_features), exact)
        loss = F.cross_entropy(step.logits.float(), step.batch.labels)
        loss = loss if extra is None else loss + extra(step, chosen)
        _set_gradients(values, torch.autograd.grad(loss, values, allow_unused=True))
        optimizer.step()
        schedule.step()
        learner.gradient_samples += len(chosen)
    _set_gradients(values, kept)
    learner.train(was_training)


def _set_gradients(values: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]) -> None:
    for value, gradient in zip(values, gradients, strict=True):
        value.grad = gradient
