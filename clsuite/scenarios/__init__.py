"""Scenarios: deterministic streams of tasks. Nothing here needs torch."""

from clsuite.scenarios.avalanche import from_avalanche, to_avalanche
from clsuite.scenarios.build import build_scenario
from clsuite.scenarios.catalog import KINDS, SINGLE_PASS, check_single_pass
from clsuite.scenarios.own import ScenarioBuilder, make_scenario
from clsuite.scenarios.scenario import EvalSplit, Scenario, Task
from clsuite.scenarios.spec import ScenarioSpec

__all__ = [
    "KINDS",
    "SINGLE_PASS",
    "EvalSplit",
    "Scenario",
    "ScenarioBuilder",
    "ScenarioSpec",
    "Task",
    "build_scenario",
    "check_single_pass",
    "from_avalanche",
    "make_scenario",
    "to_avalanche",
]
