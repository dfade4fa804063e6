"""Makes a strategy of Avalanche's with the arguments that follow from the run: network, optimizer, sizes, device."""

from __future__ import annotations

import inspect
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import avalanche
from avalanche.training.plugins import EvaluationPlugin
from torch import nn

from clsuite.avalanche.bridge import Bridge, make_optimizer
from clsuite.avalanche.experiences import AugmentedAgain
from clsuite.avalanche.network import Features, GradientCounter, Network, make_classifier
from clsuite.errors import InputWarning, UserError, is_foreign, warn_of, words_of
from clsuite.learner.batch_size import inference_batch_size
from clsuite.learner.learner import Learner

SCR_PROJECTION = 128
"""Outputs of the projection head of supervised contrastive replay, as in its paper."""
STORES_LOGITS = ("DER",)
"""Strategies that compare logits with stored ones: unseen classes may not be masked in these."""


GSS_EXEMPLARS = 32
"""Exemplars that GSS draws for each batch, the default of Avalanche's loader."""


@dataclass(frozen=True)
class Sizes:
    """The sizes that a strategy may need.

    Attributes:
        classes: Number of classes of the stream.
        tasks: Number of tasks.
        width: Length of a feature vector.
        image: Shape of an input of the network, ``(3, H, W)``.
        batch: Number of images of a training batch.
        epochs: Epochs of each task.
        evaluation_batch: Number of images of a batch in passes without gradients.
    """

    classes: int
    tasks: int
    width: int
    image: tuple[int, int, int]
    batch: int
    epochs: int
    evaluation_batch: int


def sizes_of(learner: Learner) -> Sizes:
    """The sizes of a run."""
    scenario, options = learner.scenario, learner.options
    shape = scenario.table.images.shape
    return Sizes(
        classes=len(scenario.classes),
        tasks=len(scenario.tasks),
        width=learner.backbone.width,
        image=(3, *shape[2:]),
        batch=options.batch_size,
        epochs=options.epochs,
        evaluation_batch=inference_batch_size(shape, learner.device),
    )


def make_strategy(learner: Learner, cls: type[Any], arguments: Mapping[str, Any], counter: GradientCounter) -> Any:
    """Make a strategy of Avalanche's.

    Args:
        learner: The model.
        cls: The class of the strategy.
        arguments: The arguments of the method.
        counter: Counts the images of backward passes.

    Raises:
        UserError: If it cannot be made, or its memory is too small.
    """
    sizes, features = sizes_of(learner), _features(learner, counter)
    parts = _parts(cls.__name__, learner, features, sizes, arguments)
    _check(cls.__name__, learner, sizes, arguments)
    known = inspect.signature(cls.__init__).parameters
    trained = nn.ModuleList([part for part in parts.values() if isinstance(part, nn.Module)])
    given = {
        "optimizer": make_optimizer(learner, trained, 1)[0],
        "criterion": nn.CrossEntropyLoss(),
        "train_mb_size": sizes.batch,
        "train_epochs": sizes.epochs,
        "eval_mb_size": sizes.evaluation_batch,
        "device": learner.device,
        "evaluator": _no_evaluation(),
        "plugins": [],
        "eval_every": -1,
    }
    open_ended = any(one.kind is one.VAR_KEYWORD for one in known.values())
    words = {name: value for name, value in given.items() if name in known or (open_ended and name == "optimizer")}
    if cls.__name__ == "StreamingLDA":
        del words["optimizer"]
    return _ready(learner, cls.__name__, lambda: cls(**words, **parts, **arguments))


def _check(name: str, learner: Learner, sizes: Sizes, arguments: Mapping[str, Any]) -> None:
    """Check what Avalanche does not, and would end in an endless loop, an error from deep inside, or nothing at all.

    Raises:
        UserError: If the memory is too small for the batches.
    """
    least, reason = {
        "ER_AML": (sizes.batch * sizes.classes, "a batch of each class's exemplars"),
        "GSS_greedy": (sizes.batch + GSS_EXEMPLARS, f"{GSS_EXEMPLARS} exemplars for each batch"),
    }.get(name, (0, ""))
    if least and arguments["mem_size"] < least:
        raise UserError(
            f"avalanche:{name} draws {reason}: with training.batch_size {sizes.batch} and {sizes.classes} classes, "
            f"mem_size must be at least {least}, and is {arguments['mem_size']}"
        )
    fewest = min(min(Counter(learner.scenario.labels[task.train]).values()) for task in learner.scenario.tasks)
    if name == "ER_AML" and fewest < sizes.batch:
        raise UserError(
            f"avalanche:ER_AML draws a batch of each class's exemplars, and a class has {fewest} images: "
            f"training.batch_size must be at most that, and is {sizes.batch}"
        )
    if name == "SynapticIntelligence" and learner.device.type == "cpu" and avalanche.__version__ == "0.6.0":
        warn_of(
            "Avalanche 0.6.0's SynapticIntelligence has no effect on the CPU, where the old weights that it keeps are "
            "the weights themselves: it learns as Naive does; use a GPU",
            InputWarning,
        )


def call_function(
    learner: Learner, function: Callable[..., Any], arguments: Mapping[str, Any], counter: GradientCounter
) -> Any:
    """Call a user's function that makes a strategy.

    Args:
        learner: The model.
        function: The function, with the argument ``model``, and some of ``optimizer``, ``criterion``, ``sizes`` and
            ``device``.
        arguments: The arguments of the method.
        counter: Counts the images of backward passes.

    Raises:
        UserError: If the result is not a strategy.
    """
    network = Network(_features(learner, counter), make_classifier(learner, masked=_is_masked(learner))).to(
        learner.device
    )
    given = {
        "model": network,
        "optimizer": make_optimizer(learner, network, 1)[0],
        "criterion": nn.CrossEntropyLoss(),
        "sizes": sizes_of(learner),
        "device": learner.device,
    }
    words = {name: value for name, value in given.items() if name in inspect.signature(function).parameters}
    strategy = _ready(learner, function.__name__, lambda: function(**words, **arguments))
    strategy.evaluator.loggers = []
    return strategy


def _ready(learner: Learner, name: str, make: Callable[[], Any]) -> Any:
    """Make a strategy, and add the plugin that connects it with the run.

    Raises:
        UserError: If it cannot be made, or is something else.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            strategy = make()
    except Exception as error:  # foreign code may raise anything
        if isinstance(error, UserError) or not is_foreign(error):
            raise
        raise UserError(f"{name} cannot make a strategy of Avalanche: {words_of(error)}") from error
    if not all(hasattr(strategy, part) for part in ("train", "eval", "plugins", "model", "evaluator")):
        raise UserError(f"{name} returns a {type(strategy).__name__}, but must return a strategy of Avalanche")
    strategy.plugins.append(Bridge(learner))
    return strategy


def _features(learner: Learner, counter: GradientCounter) -> Features:
    return Features(learner.backbone, learner.options.precision, counter)


def _is_masked(learner: Learner) -> bool:
    """Whether only classes that have been seen compete."""
    return learner.options.head_classes == "seen"


def _no_evaluation() -> EvaluationPlugin:
    """An evaluator that measures and prints nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return EvaluationPlugin(loggers=[])


def _parts(
    name: str, learner: Learner, features: Features, sizes: Sizes, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """The network of a strategy, and the other arguments that follow from the run."""
    device = learner.device
    if name == "StreamingLDA":
        return {"slda_model": features, "input_size": sizes.width, "num_classes": sizes.classes}
    if name == "CoPE":
        network = Network(features, nn.Linear(sizes.width, arguments["p_size"])).to(device)
        return {"model": network, "n_classes": sizes.classes}
    again = AugmentedAgain(learner.backbone.normalize, learner.options.augment)
    if name == "SCR":
        from avalanche.models import SCRModel

        hidden = [nn.Linear(sizes.width, sizes.width), nn.ReLU(), nn.Linear(sizes.width, SCR_PROJECTION)]
        return {"model": SCRModel(features, nn.Sequential(*hidden)).to(device), "augmentations": again}
    classifier = make_classifier(learner, masked=_is_masked(learner) and name not in STORES_LOGITS).to(device)
    if name == "ICaRL":
        return {"feature_extractor": features, "classifier": classifier, "buffer_transform": again}
    network = Network(features, classifier).to(device)
    more: dict[str, dict[str, Any]] = {
        "FromScratchTraining": {"reset_optimizer": False},  # the bridge makes a new one, with all its learning rates
        "CWRStar": {"cwr_layer_name": "classifier.classifier"},
        "ER_AML": {"feature_extractor": features},
        "GSS_greedy": {"input_size": list(sizes.image)},
    }
    return {"model": network, **more.get(name, {})}
