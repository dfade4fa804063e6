"""Selects the points of a space that are tried: all if there are few, otherwise those that Optuna's TPE proposes."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from typing import Any

from clsuite.errors import UserError
from clsuite.tuning.space import Choice, Dimension, Range, points


class Sampler:
    """Proposes points and receives their scores; the same scores give the same proposals on every machine.

    Attributes:
        name: ``grid`` (every point once) or ``tpe`` (Bergstra et al. 2011, in Optuna's implementation).
        trials: Number of points.
    """

    def __init__(self, space: Sequence[Dimension], trials: int, seed: int, maximize: bool) -> None:
        """Create the sampler.

        Raises:
            UserError: If Optuna is not installed.
        """
        optuna = _import_optuna()
        self._space, self._states = tuple(space), optuna.trial.TrialState
        size = points(self._space)
        self.name = "grid" if size is not None and size <= trials else "tpe"
        self.trials = size if self.name == "grid" and size is not None else trials
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna warns that batches of proposals are experimental
            sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        self._study = optuna.create_study(sampler=sampler, direction="maximize" if maximize else "minimize")
        self._distributions = {parameter.name: _distribution(optuna, parameter.values) for parameter in self._space}
        if self.name == "grid":
            for point in itertools.product(*(_indices(parameter.values) for parameter in self._space)):
                self._study.enqueue_trial(dict(zip(self._distributions, point, strict=True)))
        self._asked: list[Any] = []

    def ask(self, number: int) -> list[dict[str, Any]]:
        """Propose some points to try simultaneously."""
        self._asked = [self._study.ask(self._distributions) for _ in range(number)]
        return [
            {parameter.name: _value(parameter.values, trial.params[parameter.name]) for parameter in self._space}
            for trial in self._asked
        ]

    def tell(self, scores: Sequence[float | None]) -> None:
        """Receive the scores of the points proposed last; None for a failed trial."""
        for trial, score in zip(self._asked, scores, strict=True):
            if score is None:
                self._study.tell(trial, state=self._states.FAIL)
            else:
                self._study.tell(trial, score)


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise UserError("clsuite tune needs Optuna: pip install 'clsuite[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _distribution(optuna: Any, values: Choice | Range) -> Any:
    """A distribution in Optuna; choices are represented by their position, because Optuna accepts no lists."""
    if isinstance(values, Choice):
        return optuna.distributions.CategoricalDistribution(tuple(range(len(values.values))))
    kind = optuna.distributions.IntDistribution if values.whole else optuna.distributions.FloatDistribution
    bound = int if values.whole else float
    return kind(bound(values.low), bound(values.high), log=values.log)


def _indices(values: Choice | Range) -> range:
    return range(len(values.values)) if isinstance(values, Choice) else range(int(values.low), int(values.high) + 1)


def _value(values: Choice | Range, proposed: Any) -> Any:
    return values.values[proposed] if isinstance(values, Choice) else proposed
