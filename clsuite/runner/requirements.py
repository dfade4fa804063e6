"""Requirements of methods and training on the backbone, checked before any run. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from clsuite.backbones.clip_spec import EXAMPLE, is_clip
from clsuite.backbones.families import is_resnet
from clsuite.backbones.spec import BackboneSpec
from clsuite.data.buffer_policy import LABEL_BYTES, check_one_of_each
from clsuite.errors import InputWarning, UserError, did_you_mean, warn_of
from clsuite.learner.options import TrainingSpec
from clsuite.plugin.compatibility import Named
from clsuite.plugin.introspection import PluginSource
from clsuite.probes.spec import AnyProbe, HeadProbe, ZeroShotProbe, probe_name
from clsuite.scenarios import Scenario, Task
from clsuite.scenarios.catalog import SINGLE_PASS, check_competing

RESNET_STRIDE = 32
"""Number of image pixels per pixel of a ResNet's last layers, along each side."""


def check_needs(plugins: Sequence[Named], backbone: BackboneSpec, training: TrainingSpec) -> None:
    """Check that the backbone has the blocks that plugins need, and the text tower that plugins or training need.

    Raises:
        UserError: If it does not, or the text tower would be trained without being used.
    """
    for name, source in plugins:
        if "all data" in source.traits.memory and "local" in _losses(training):
            raise UserError(
                f"plugin '{name}' needs training.loss: global: under a local loss the images of a task never compete "
                "with the classes of earlier ones, which it trains on again"
            )
        if "vit" in source.traits.requires and backbone.own is not None:
            raise UserError(
                f"plugin '{name}' needs a ViT: backbone '{backbone.own.name}' is a user-defined module, whose "
                "transformer blocks are unknown"
            )
        if "vit" in source.traits.requires and is_resnet(backbone.name):
            raise UserError(
                f"plugin '{name}' needs a ViT: backbone '{backbone.name}' is a ResNet and has no transformer blocks"
            )
    wanting = [f"plugin '{name}'" for name, source in plugins if "clip" in source.traits.requires]
    wanting += ["training.head: zero_shot"] if training.head == "zero_shot" else []
    wanting += [f"training.tune: {training.tune}"] if training.tune != "image" else []
    if wanting and not is_clip(backbone.name):
        raise UserError(
            f"{wanting[0]} needs CLIP, and backbone '{backbone.name}' has no text tower: choose one such as {EXAMPLE}"
        )
    if training.tune != "image" and training.head != "zero_shot":
        raise UserError(
            f"training.tune: {training.tune} needs training.head: zero_shot: "
            f"a {training.head} head does not use the text tower"
        )


def _losses(training: TrainingSpec) -> set[str]:
    """The losses of all tasks, of which single ones may have their own."""
    return {training.loss, *(training.of_task(name).loss for name in training.by_task)}


def check_probes(probes: Sequence[AnyProbe], backbone: BackboneSpec) -> None:
    """Check that the backbone has the text tower or head that probes need.

    Raises:
        UserError: If it does not.
    """
    heads = [probe_name(probe) for probe in probes if isinstance(probe, HeadProbe)]
    if heads and backbone.own is not None:
        raise UserError(
            f"probe '{heads[0]}' needs the head that the backbone was pre-trained with: backbone '{backbone.own.name}' "
            "is a user-defined module, which only has features"
        )
    wanting = [probe_name(probe) for probe in probes if isinstance(probe, ZeroShotProbe)]
    if wanting and not is_clip(backbone.name):
        raise UserError(
            f"probe '{wanting[0]}' needs CLIP, and backbone '{backbone.name}' has no text tower: "
            f"choose one such as {EXAMPLE}"
        )


def check_merging(plugins: Sequence[tuple[str, Mapping[str, Any]]], sources: Sequence[Named]) -> None:
    """Check that no plugin keeps old values of a module that is merged into the weights and reinitialized.

    Args:
        plugins: Name and arguments of each plugin.
        sources: Name and source of each plugin.

    Raises:
        UserError: If a plugin merges (``after_task: merge``) and another keeps weights or importances.
    """
    merging = [name for name, args in plugins if args.get("after_task") == "merge"]
    keeping = [name for name, source in sources if {"weights", "importances"} & {*source.traits.memory}]
    if merging and keeping:
        raise UserError(
            f"'{merging[0]}' with after_task: merge and '{keeping[0]}' cannot be combined: what '{keeping[0]}' stores "
            f"about the module is invalid after it is merged and reset; use after_task: keep"
        )


def check_parts(
    by: str, plugins: Sequence[tuple[str, Mapping[str, Any]]], sources: Sequence[Named], backbone: BackboneSpec
) -> None:
    """Check that batches may pass through the backbone in parts.

    Args:
        by: The feature that splits them, for the message.
        plugins: Name and arguments of each plugin.
        sources: Name and source of each plugin.
        backbone: The backbone that is trained.

    Raises:
        UserError: If the backbone has batch normalization, or a plugin selects by the whole batch.
    """
    fixed = any(source.traits.freezes_backbone or source.traits.gradient_free for _, source in sources)
    if is_resnet(backbone.name) and not fixed:
        raise UserError(
            f"{by} takes batches apart, and backbone '{backbone.name}' is a ResNet, which normalizes by "
            "the whole batch: remove it, or use a ViT"
        )
    counting = [name for name, args in plugins if args.get("diversify") or args.get("selection") == "batch"]
    if counting:
        raise UserError(
            f"plugin '{counting[0]}' with diversify or selection: batch chooses by what the whole batch chose, and "
            f"{by} takes batches apart: remove one of them"
        )


def check_tasks(training: TrainingSpec, scenario: Scenario) -> None:
    """Check the number of steps of tasks, and the tasks that have options of their own.

    Raises:
        UserError: If a stream with a single pass would be trained for a number of steps, or there is no such task.
    """
    if training.steps is not None and scenario.kind in SINGLE_PASS:
        raise UserError(
            f"training.steps is {training.steps}, but a stream of kind '{scenario.kind}' passes once, which decides on "
            "the number of steps: remove it",
            field="training.steps",
        )
    names = [*(task.name for task in scenario.tasks), *filter(None, scenario.table.domain_names)]
    for name in training.by_task:
        if name not in names:
            error = did_you_mean("task in training.by_task:", name, names)
            error.field = "training.by_task"
            raise error


def check_classes(method: str, plugins: Sequence[Named], training: TrainingSpec, scenario: Scenario) -> None:
    """Check that every task that is trained with a local loss, or alone, has at least two classes.

    Args:
        method: Name of the method, for the message.
        plugins: Name and source of its plugins.
        training: Its training options.
        scenario: The stream.

    Raises:
        UserError: If a task has a single class: its loss would always be 0, and nothing would be learned.
    """
    for task in _trained_tasks(plugins, scenario):
        if training.of_task(task.name).loss == "local":
            check_competing(task, method)
    if training.head_classes == "seen":
        for alone in (name for name, source in plugins if source.traits.first_session):
            check_competing(scenario.tasks[0], method, alone)


def _trained_tasks(plugins: Sequence[Named], scenario: Scenario) -> Sequence[Task]:
    """The tasks with gradient steps."""
    traits = [source.traits for _, source in plugins]
    if not any(trait.gradient_free for trait in traits):
        return scenario.tasks
    return scenario.tasks[:1] if any(trait.first_session for trait in traits) else ()


def check_rests(
    method: str, plugins: Sequence[Named], training: TrainingSpec, backbone: BackboneSpec, scenario: Scenario
) -> None:
    """Check that batch normalization is never applied to a batch of one image with a single pixel.

    Args:
        method: Name of the method, for the message.
        plugins: Name and source of its plugins; exemplars enlarge batches, and a frozen network is not affected.
        training: Its training options.
        backbone: The backbone that is trained.
        scenario: The stream.

    Raises:
        UserError: If the last batch of a task has one image; names the task.
    """
    traits = [source.traits for _, source in plugins]
    filled = any("exemplars" in trait.memory or "tunes between steps" in trait.effects for trait in traits)
    filled |= any(trait.freezes_backbone and "modules" not in trait.memory for trait in traits)
    if filled or is_clip(backbone.name) or not is_resnet(backbone.name) or backbone.image_size > RESNET_STRIDE:
        return
    images = 0
    for task in _trained_tasks(plugins, scenario):
        together = any("all data" in trait.memory for trait in traits)
        images = len(task.train) + (images if together else 0)
        if images % training.batch_size == 1:
            raise UserError(
                f"method '{method}': the last batch of task {task.index} ({task.name}) has one image ({images} images, "
                f"training.batch_size {training.batch_size}), and at {backbone.image_size} px the last layers of "
                f"'{backbone.name}' have one pixel, so that batch normalization has nothing to normalize by: take "
                "another training.batch_size or a larger backbone.image_size"
            )


def check_buffers(plugins: Sequence[tuple[str, PluginSource, Mapping[str, Any]]], scenario: Scenario) -> None:
    """Check that buffers suit the stream: a shared one holds an exemplar of each class, herding has what it needs.

    A buffer with herding that could hold more exemplars than the stream has images keeps all, with a warning.

    Args:
        plugins: Name, source and arguments of each plugin.
        scenario: The stream.

    Raises:
        UserError: If a shared buffer has fewer exemplars than there are classes, or herding would need a second pass
            through the network on a stream with a single pass.
    """
    lent = any(source.traits.lends for _, source, _ in plugins)
    for name, source, args in plugins:
        policy = args.get("buffer", source.traits.buffer)
        size = args.get("capacity_bytes")
        held = size // (math.prod(scenario.table.images.shape[1:]) + LABEL_BYTES) if size else args.get("capacity")
        if not policy or not held or held < 1 or (lent and source.traits.borrows):
            continue  # the plugin itself refuses a capacity below 1
        check_one_of_each(name, policy, held, scenario.seen_classes(len(scenario.tasks)))
        if policy == "herding":
            _check_herding(name, held, scenario)


def _check_herding(name: str, held: int, scenario: Scenario) -> None:
    samples = sum(len(task.train) for task in scenario.tasks)
    if held > samples:
        warn_of(
            f"plugin '{name}' may keep {held} exemplars, but the stream has {samples} training images: all are kept, "
            "and herding chooses none",
            InputWarning,
        )
    if scenario.kind in SINGLE_PASS:
        raise UserError(
            f"plugin '{name}' cannot herd on {scenario.kind} streams: herding passes a task's images through the "
            "network again, but the stream passes once; use buffer: reservoir or class_balanced"
        )
