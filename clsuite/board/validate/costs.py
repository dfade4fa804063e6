"""Checks the costs in a record: they must be consistent with each other, with the method and with the stream.

Steps, samples, FLOPs of training and the kinds of stored data follow from the method, the configuration and the stream,
for plugins that declare their traits (`clsuite.plugin.traits.Traits`). The other costs are checked against bounds;
within these only a rerun can decide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clsuite.backbones.spec import BUNDLED, bundled_size
from clsuite.board.confirmed import our_source
from clsuite.plugin.introspection import PluginSource
from clsuite.plugin.traits import Traits
from clsuite.records import RunRecord, TaskEntry
from clsuite.records.record import RESULTS_VERSION

REHEARSED = frozenset({"exemplars", "logits", "importances", "masks", "all data"})
"""Kinds of stored data that a plugin may train on again."""
OWN_PASSES = frozenset({"tunes between steps", "scores weights", "warms up head", "trains by itself"})
"""Declared effects that need backward passes of the plugin's own."""
OF_IMAGES = frozenset({"exemplars", "all data"})
MOST_PASSES = 100
"""Largest number of a plugin's own backward passes for each one of the training; reference methods need up to 19."""
MOST_STORED = 100
"""Largest size of stored data other than images, in copies of the network; reference methods need up to 9."""
BESIDE_AN_IMAGE = 256
"""Bytes that are stored with an image, such as label and task."""
FASTEST = 1e16
"""Operations per second that no processor reaches."""
LONGEST_SECONDS = 1e8
ROUNDING = 1e-6
"""Share by which a sum of seconds may differ from its parts."""
LARGEST_MEMORY = 2**45
LARGEST_FORWARD = 10**16
"""Largest number of operations for one image: a thousand times that of the largest ViT."""


@dataclass(frozen=True)
class Method:
    """What the plugins of a record declare.

    Attributes:
        sources: Declarations of the plugins that are known here.
        is_known: Whether all plugins are known here.
        is_current: Whether all are the same as when the record was made.
    """

    sources: tuple[PluginSource, ...]
    is_known: bool
    is_current: bool

    @classmethod
    def of(cls, record: RunRecord) -> Method:
        """The method of a record."""
        sources = [our_source(entry.name) for entry in record.plugins]
        known = [source for source in sources if source is not None]
        pairs = zip(sources, record.plugins, strict=True)
        return cls(
            sources=tuple(known),
            is_known=len(known) == len(sources),
            is_current=all(source is not None and source.sha256 == entry.source for source, entry in pairs),
        )

    @property
    def traits(self) -> tuple[Traits, ...]:
        """Traits of all plugins that are known here."""
        return tuple(source.traits for source in self.sources)

    @property
    def chooses(self) -> bool:
        """Whether it may choose what a task is trained on."""
        return not self.is_known or any("select_indices" in source.hooks for source in self.sources)

    @property
    def plans(self) -> bool:
        """Whether it may train a task for other epochs, by other batches or more often than the benchmark says."""
        return any("plan_training" in source.hooks for source in self.sources)

    @property
    def trains_before(self) -> bool:
        """Whether it may train before a task, by a loop of its own."""
        return any("before_task_training" in source.hooks for source in self.sources)

    @property
    def has_own_passes(self) -> bool:
        """Whether it may make backward passes besides those for the batches of the training."""
        return not self.is_known or any(_has_own_passes(source) for source in self.sources)

    @property
    def memory(self) -> frozenset[str]:
        """Kinds of what it stores."""
        return frozenset(kind for declared in self.traits for kind in declared.memory)

    @property
    def effects(self) -> frozenset[str]:
        """What its plugins do besides adding to loss and batch."""
        return frozenset(deed for declared in self.traits for deed in declared.effects)

    @property
    def is_plain(self) -> bool:
        """Whether the network is the backbone and the head, with nothing added."""
        changes = {"modules", "blocks"} & self.memory or "adds modules" in self.effects
        return self.is_known and not changes and not any(declared.first_session for declared in self.traits)

    def trains_by_gradient(self, task: int) -> bool:
        """Whether it takes gradient steps in a task."""
        first = task == 0 and any(declared.first_session for declared in self.traits)
        return first or not any(declared.gradient_free for declared in self.traits)


def _has_own_passes(source: PluginSource) -> bool:
    """Whether a plugin makes backward passes of its own, as one does that stores samples and adds them to no batch."""
    traits, adds = source.traits, {"loss", "transform_batch"} & source.hooks
    own = OWN_PASSES.intersection(traits.effects) or {"importances", "masks"}.intersection(traits.memory)
    own = own or {"before_task_training", "plan_training"} & source.hooks
    return bool(own) or (bool(REHEARSED.intersection(traits.memory)) and not adds)


def cost_problem(record: RunRecord) -> str:
    """The problem with its costs; empty if they are consistent and possible."""
    return _parameters(record) or _operations(record) or _storage(record) or _machine(record) or _taken(record)


def _parameters(record: RunRecord) -> str:
    assert record.cost is not None
    trained, total = record.cost.trainable_parameters, record.cost.total_parameters
    samples = sum(task.gradient_samples for task in record.tasks)
    if samples and not trained:
        return f"it trained with {samples} samples, but says that no parameter was trained: run it again"
    if record.results_version() == RESULTS_VERSION and any(
        task.trainable_parameters is None or task.frozen is None for task in record.tasks
    ):
        return "its tasks do not say how many parameters were trained, or whether the features were fixed: run it again"
    per_task = [task.trainable_parameters for task in record.tasks if task.trainable_parameters is not None]
    if per_task and max(per_task) != trained:
        return f"its cost names {trained} trained parameters, but its tasks at most {max(per_task)}"
    if trained > total:
        return f"its cost names {trained} trained parameters of {total} in all"
    backbone = record.config["backbone"]
    if backbone["name"] != BUNDLED or backbone.get("weights") != "bundled":
        return ""
    size, width = bundled_size()
    due = size + len(record.scenario.classes) * (width + 1)
    linear = (record.config.get("training") or {}).get("head") == "linear" and record.config.get("limit_tasks") is None
    if total < size:
        return f"its cost names {total} parameters, but its backbone alone has {size}"
    if linear and total != due and Method.of(record).is_plain:
        return f"its cost names {total} parameters, but backbone and head have {due}"
    return ""


def _operations(record: RunRecord) -> str:
    assert record.cost is not None
    forward, training = record.cost.forward_flops_per_image, record.cost.training_flops
    if not 0 < forward <= LARGEST_FORWARD:
        return f"its cost names {forward} FLOPs for an image"
    samples = sum(task.gradient_samples for task in record.tasks)
    if frozen := next((index for index, task in enumerate(record.tasks, 1) if _is_frozen_oddly(record, task)), 0):
        return f"task {frozen}: it says that the features were fixed, and that most of the network was trained"
    due = {0, 3 * forward * samples}
    if all(task.frozen is not None for task in record.tasks):
        due = {3 * forward * sum(task.gradient_samples for task in record.tasks if not task.frozen)}
    if training not in due:
        return f"its cost names {training} FLOPs of training, but its samples take {max(due)}"
    return ""


def _is_frozen_oddly(record: RunRecord, task: TaskEntry) -> bool:
    """Whether a network of backbone and head alone trained more than its head although its features were fixed."""
    assert record.cost is not None
    most = record.cost.total_parameters // 2
    return bool(task.frozen) and (task.trainable_parameters or 0) > most and Method.of(record).is_plain


def _storage(record: RunRecord) -> str:
    assert record.cost is not None
    method = Method.of(record)
    for kind, size in record.cost.stored_bytes.items():
        if method.is_current and kind not in method.memory:
            return f"cost.stored_bytes.{kind}: its plugins store no {kind}"
        if kind not in OF_IMAGES and size > 4 * MOST_STORED * record.cost.total_parameters:
            return f"cost.stored_bytes.{kind}: {size} bytes are more than {MOST_STORED} copies of its network"
    missing = sorted(method.memory - record.cost.stored_bytes.keys()) if method.is_current else []
    return f"cost.stored_bytes: its plugins store {missing[0]}, and it says nothing of that" if missing else ""


def _machine(record: RunRecord) -> str:
    assert record.cost is not None
    times = [
        record.seconds,
        *(spent for task in record.tasks for spent in (task.train_seconds, task.eval_seconds)),
    ]
    if max(times) > LONGEST_SECONDS:
        return f"it says that something took {max(times):g} seconds"
    fastest = record.cost.training_flops / FASTEST
    if sum(task.train_seconds for task in record.tasks) < fastest:
        return f"no processor makes {record.cost.training_flops} FLOPs in the seconds that it trained"
    memory = record.cost.peak_memory_bytes
    if not record.cost.total_parameters <= memory <= LARGEST_MEMORY:
        return f"its cost names {memory} bytes of peak memory for {record.cost.total_parameters} parameters"
    return ""


def _taken(record: RunRecord) -> str:
    """The problem with what it says that it took from the features that runs share."""
    assert record.cost is not None
    taken = record.features
    if taken is None:
        return ""
    if not taken.images or not taken.seconds:
        return "it says that it took features from the store, but not how many, or not what they had cost"
    if taken.seconds > LONGEST_SECONDS:
        return f"it says that features had cost {taken.seconds:g} seconds"
    if taken.training_seconds + taken.evaluation_seconds > taken.seconds * (1 + ROUNDING):
        return f"the parts of what its features had cost are more than the whole, {taken.seconds:g} seconds"
    if taken.seconds < record.cost.forward_flops_per_image * taken.images / FASTEST:
        return f"no processor computes features of {taken.images} images in {taken.seconds:g} seconds"
    return ""


def step_problem(record: RunRecord, training: Sequence[int], repeats: int) -> str:
    """The problem with its steps, samples and stored images; empty if they are those of its method on its stream.

    Args:
        record: A finished record.
        training: Number of training images of each task of the stream.
        repeats: Number of consecutive steps on each batch.
    """
    method = Method.of(record)
    for index, (task, images) in enumerate(zip(record.tasks, training, strict=True)):
        plain, samples = _plain(record, index, images, repeats)
        most, _ = _plain(record, index, sum(training[: index + 1]), repeats)
        if problem := _of_task(record, method, index, task, (plain, most, samples, images)):
            return f"task {index + 1}: {problem}"
    return _images(record, sum(training))


def _plain(record: RunRecord, index: int, images: int, repeats: int) -> tuple[int, int]:
    """The steps and samples of plain training of a task with some number of images."""
    options = record.config["training"]
    own = options.get("by_task", {}).get(record.scenario.task_names[index], {})
    options = {**options, **own, **({"steps": None} if "epochs" in own else {})}
    batch, steps = options["batch_size"], options.get("steps")
    in_pass = repeats * math.ceil(images / batch)
    if steps is None:
        return options["epochs"] * in_pass, repeats * options["epochs"] * images
    whole, rest = divmod(steps, in_pass)
    batches, again = divmod(rest, repeats)
    begun = min(batches * batch, images)
    return steps, repeats * (whole * images + begun) + again * min(batch, images - begun)


def _of_task(record: RunRecord, method: Method, index: int, task: TaskEntry, due: tuple[int, int, int, int]) -> str:
    """The problem with the steps and samples of a task.

    Args:
        record: The record.
        method: Its method.
        index: The number of the task.
        task: The record's entry of the task.
        due: Steps of plain training, steps if all images up to this task are trained on, samples of plain training,
            and training images of the task.
    """
    plain, most, samples, images = due
    steps, counted = task.steps, task.gradient_samples
    if method.is_known and not method.trains_by_gradient(index):
        return f"it says {steps} steps and {counted} samples, but its method takes no gradient steps then" * bool(
            steps or (counted and not method.trains_before and not method.effects & OWN_PASSES)
        )
    if method.plans:
        return "" if 0 < steps <= counted else f"it says {steps} steps and {counted} samples"
    chooses = method.chooses
    if (chooses and not steps <= most) or (not chooses and steps != plain):
        return f"it says {steps} steps, but its training takes {'at most ' * chooses}{most if chooses else plain}"
    if method.is_known and not steps:
        return "it says that it took no step"
    least = 0 if not method.is_known else steps if chooses else samples
    largest = _most_samples(record, method, steps, images)
    alone = (
        method.is_known
        and not chooses
        and not (method.memory & REHEARSED or method.effects & OWN_PASSES or method.trains_before)
    )
    if not least <= counted <= (samples if alone else largest):
        return f"it says {counted} gradient samples, but its training takes {least} to {samples if alone else largest}"
    return ""


def _most_samples(record: RunRecord, method: Method, steps: int, images: int) -> int:
    """Largest number of samples in the backward passes of some steps, with the exemplars that plugins may add.

    A method with passes of its own may make them in each step, and over the images of the task besides.
    """
    batch: int = record.config["training"]["batch_size"]
    added = [max(batch, int(entry.args.get("batch_size") or 0)) for entry in record.plugins]
    if method.has_own_passes:
        return MOST_PASSES * (steps * batch + images)
    return steps * (batch + 2 * sum(added))


def _images(record: RunRecord, training: int) -> str:
    """The problem with the bytes of stored images: no method stores more than all images."""
    assert record.cost is not None
    image = 3 * record.config["backbone"]["image_size"] ** 2 + BESIDE_AN_IMAGE
    capacities = [entry.args["capacity"] for entry in record.plugins if isinstance(entry.args.get("capacity"), int)]
    stored: Mapping[str, int] = record.cost.stored_bytes
    all_bounded = capacities and all("exemplars" in declared.memory for declared in Method.of(record).traits)
    for kind in sorted(OF_IMAGES & stored.keys()):
        number = min(training, sum(capacities)) if all_bounded and kind == "exemplars" else training
        if stored[kind] > number * image:
            return f"cost.stored_bytes.{kind}: {stored[kind]} bytes are more than {number} images"
    return ""
