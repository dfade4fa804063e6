"""Scenarios: deterministic streams of tasks. Nothing here needs torch."""

from clsuite.scenarios.build import build_scenario
from clsuite.scenarios.scenario import Scenario, Task
from clsuite.scenarios.spec import ScenarioSpec

__all__ = ["Scenario", "ScenarioSpec", "Task", "build_scenario"]
