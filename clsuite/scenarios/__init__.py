"""Scenarios: deterministic streams of tasks. Nothing here needs torch.

Everything except the names of kinds is imported on first use: traits of plugins name kinds of streams, and listings
must be fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clsuite.lazy import imported_on_use
from clsuite.scenarios.catalog import KINDS, SINGLE_PASS, check_competing, check_single_pass

if TYPE_CHECKING:
    from clsuite.scenarios.avalanche import from_avalanche, to_avalanche
    from clsuite.scenarios.build import build_scenario
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
    "check_competing",
    "check_single_pass",
    "from_avalanche",
    "make_scenario",
    "to_avalanche",
]

_HOMES = {
    "EvalSplit": "clsuite.scenarios.scenario",
    "Scenario": "clsuite.scenarios.scenario",
    "ScenarioBuilder": "clsuite.scenarios.own",
    "ScenarioSpec": "clsuite.scenarios.spec",
    "Task": "clsuite.scenarios.scenario",
    "build_scenario": "clsuite.scenarios.build",
    "from_avalanche": "clsuite.scenarios.avalanche",
    "make_scenario": "clsuite.scenarios.own",
    "to_avalanche": "clsuite.scenarios.avalanche",
}


__getattr__ = imported_on_use(__name__, _HOMES)
