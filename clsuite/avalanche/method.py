"""The plugin that learns each task with a strategy of Avalanche's; `getattr` on this module gives one per strategy.

The strategy trains the run's backbone in ``before_task_training``, where the global generators, from which Avalanche
draws, are seeded for the task and restored afterwards. It predicts by its own evaluation path, but never gets a label.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import avalanche.training
import torch
from torch import Tensor, nn

from clsuite.avalanche.experiences import make_experiences
from clsuite.avalanche.make import call_function, make_strategy
from clsuite.avalanche.network import GradientCounter, write_back
from clsuite.avalanche.stored import as_kinds, stored_by
from clsuite.data.batch import Batch
from clsuite.errors import UserError
from clsuite.plugin.base import Plugin
from clsuite.plugin.strategies import traits_of
from clsuite.plugin.strategy_facts import FACTS, GIVEN, SIZES, UNKNOWN
from clsuite.plugin.traits import Traits
from clsuite.private_api import begin_evaluation, end_evaluation, evaluate_batch

if TYPE_CHECKING:
    from clsuite.learner.learner import Learner
    from clsuite.scenarios import Task

NEVER = -1e30
"""Score of a class that a strategy cannot predict."""
NOT_SAVED = "a strategy of Avalanche's cannot be saved between tasks, so that the stream is learned from its start"


class StrategyMethod(Plugin):
    """Learns a stream with a strategy of Avalanche's.

    Attributes:
        make: Makes the strategy from the learner, the arguments and a counter of gradient samples.
    """

    traits: ClassVar[Traits] = Traits()
    make: ClassVar[Callable[[Learner, Mapping[str, Any], GradientCounter], Any]]

    def __init__(self, **arguments: Any) -> None:
        """Keep the arguments."""
        super().__init__()
        self._arguments, self._counter = arguments, GradientCounter()
        self._strategy: Any = None
        self._experiences: list[Any] = []
        self._trained: dict[nn.Parameter, bool] = {}
        self._image_bytes = 0

    def before_task_training(self, learner: Learner, task: Task) -> None:
        """Train the strategy on a task, and prepare it for the evaluation."""
        if self._strategy is None:
            self._image_bytes = math.prod(learner.scenario.table.images.shape[1:])
            self._experiences = make_experiences(learner)
            self._trained = {value: value.requires_grad for value in learner.parameters()}
            self._strategy = type(self).make(learner, self._arguments, self._counter)
        else:
            end_evaluation(self._strategy)
        for value in learner.parameters():
            value.requires_grad_(self._trained.get(value, True))
        before, fresh = self._counter.samples, learner.options.recreate_optimizer
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="avalanche")
            self._strategy.train(
                self._experiences[task.index], eval_streams=[], reset_optimizer_state=fresh, num_workers=0
            )
        learner.count_gradients(self._counter.samples - before)
        self._trained = {value: value.requires_grad for value in learner.parameters()}
        write_back(learner, self._strategy.model)
        self._begin_evaluation(task)

    def _begin_evaluation(self, task: Task) -> None:
        """Do what Avalanche does at the start of an evaluation of all experiences so far."""
        strategy = self._strategy
        strategy.is_training = False
        strategy.model.eval()
        begin_evaluation(strategy, self._experiences[: task.index + 1])

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Let what was trained count as trained, so that the evaluation does not take its features for fixed."""
        if learner.trained_before:
            for value, trained in self._trained.items():
                value.requires_grad_(trained)

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Predict ``[B, seen classes]`` by the strategy's evaluation path; a class without prediction gets -1e30."""
        images = batch.images
        if images is None:
            stored = learner.images_of(batch.indices.cpu().numpy()).to(learner.device)
            images = learner.backbone.normalize(stored)
        output = _evaluated(self._strategy, images)[:, : learner.seen].float()
        missing = output.new_full((len(output), learner.seen - output.shape[1]), NEVER)
        return torch.cat([output.masked_fill(output == -torch.inf, NEVER), missing], dim=1)

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of exemplars and of other tensors that are found in the strategy and its plugins."""
        return as_kinds(self.traits.memory, *stored_by(self._strategy, self._image_bytes))

    def state_dict(self) -> dict[str, Any]:
        """Nothing: a strategy is not saved."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on.

        Raises:
            UserError: Always.
        """
        raise UserError(NOT_SAVED)


@torch.no_grad()
def _evaluated(strategy: Any, images: Tensor) -> Tensor:
    """The output of a strategy for images, as in its evaluation; labels and task labels are all 0."""
    if strategy.model.training:
        strategy.model.eval()
    nothing = torch.zeros(len(images), dtype=torch.long, device=images.device)
    strategy.mbatch = [images, nothing, nothing]
    return evaluate_batch(strategy)


def of_function(function: Callable[..., Any]) -> type[StrategyMethod]:
    """The plugin class of a user's function that makes a strategy."""
    parameters = [one for one in inspect.signature(function).parameters.values() if one.name not in SIZES]
    scores = getattr(inspect.getmodule(function), "SCORES", None) or function.__globals__.get("SCORES", "logits")

    def make(learner: Learner, arguments: Mapping[str, Any], counter: GradientCounter) -> Any:
        return call_function(learner, function, arguments, counter)

    return _class(function.__name__, parameters, Traits(**{**vars(traits_of(UNKNOWN)), "scores": scores}), make)


def _of_class(cls: type[Any]) -> type[StrategyMethod]:
    """The plugin class of a strategy's class."""

    def make(learner: Learner, arguments: Mapping[str, Any], counter: GradientCounter) -> Any:
        return make_strategy(learner, cls, arguments, counter)

    known = list(inspect.signature(cls.__init__).parameters.values())[1:]
    parameters = [one for one in known if one.name not in GIVEN and _is_plain(one.default)]
    return _class(cls.__name__, parameters, traits_of(FACTS.get(cls.__name__, UNKNOWN)), make)


def _is_plain(default: Any) -> bool:
    return default is inspect.Parameter.empty or isinstance(default, bool | int | float | str | list | tuple | None)


def _class(
    name: str,
    parameters: Sequence[inspect.Parameter],
    traits: Traits,
    make: Callable[[Learner, Mapping[str, Any], GradientCounter], Any],
) -> type[StrategyMethod]:
    """A plugin class whose constructor has the parameters of a strategy."""

    def __init__(self: StrategyMethod, **arguments: Any) -> None:  # noqa: N807
        StrategyMethod.__init__(self, **arguments)

    first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    __init__.__signature__ = inspect.Signature([first, *parameters])  # type: ignore[attr-defined]
    return type(name, (StrategyMethod,), {"traits": traits, "make": staticmethod(make), "__init__": __init__})


def __getattr__(name: str) -> type[StrategyMethod]:
    """The plugin class of a strategy of Avalanche's, by the name of its class."""
    found = getattr(avalanche.training, name, None)
    if not isinstance(found, type):
        raise AttributeError(name)
    made = globals()[name] = _of_class(found)
    return made
