"""User-defined probes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.plugin.own_class import make_own
from clsuite.probes.base import ProbeContext, Reading
from clsuite.probes.spec import OwnProbe, probe_name


class Probe(ABC):
    """Base class of a user-defined probe.

    The constructor of a subclass takes the arguments of the benchmark:
    ``probes: [{class: my_package.probes:MyProbe, name: mine, size: 10}]``.

    Attributes:
        higher_is_better: Whether higher values mean more retained knowledge.
        before: The reference for later readings, if the probe needs one: what is assigned to this attribute (tensors,
            numbers and lists of them) survives an interruption of the run.
    """

    higher_is_better: ClassVar[bool] = True
    before: Any = None

    @abstractmethod
    def read(self, learner: Learner) -> float | Reading | None:
        """Read the probe. Called before the stream, and after the evaluation that follows each task.

        It must not change the learner. Random numbers that it draws do not affect the run.

        Args:
            learner: The current learner; ``learner.backbone`` gives features, ``learner.scenario`` the stream.

        Returns:
            A number; ``Reading.accuracy(right)`` for an accuracy with counts; None if the value is undefined.
        """


class OwnMeasure:
    """Reads a user-defined probe."""

    def __init__(self, spec: OwnProbe, context: ProbeContext) -> None:
        """Import the class and create the probe.

        Raises:
            UserError: If it is missing, is not a probe, or does not accept the arguments.
        """
        self._name = probe_name(spec)
        self._probe = make_own(spec.own, "probe", context.files, Probe)  # type: ignore[type-abstract]

    @property
    def before(self) -> Any:
        """The probe's reference for later readings."""
        return self._probe.before

    @before.setter
    def before(self, value: Any) -> None:
        self._probe.before = value

    def __call__(self, learner: Learner) -> dict[str, Reading]:
        """Read the probe.

        Raises:
            UserError: If the probe does not return a finite number.
        """
        result = self._probe.read(learner)
        if result is None:
            return {self._name: Reading(None, self._probe.higher_is_better)}
        if not isinstance(result, Reading):
            return {self._name: Reading(self._finite(result, result), self._probe.higher_is_better)}
        if result.value is None:
            return {self._name: result}
        return {self._name: replace(result, value=self._finite(result.value, result))}

    def _finite(self, value: Any, result: Any) -> float:
        """The value of a result as a number.

        Raises:
            UserError: If it is none, or not finite.
        """
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise UserError(f"read(learner) of probe '{self._name}' gives {result!r}, but must give a finite number")
        return number
