"""The script that times every method can start every method."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from clsuite.plugin.catalog import catalog, find_plugin, load_class
from clsuite.runner.methods import parse_method
from clsuite.scenarios import Scenario
from clsuite.stream.loop import Stream


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "speed" / "methods.py"
    spec = importlib.util.spec_from_file_location("speed_methods", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["speed_methods"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_every_method_starts_in_it(script: ModuleType, scenario: Scenario, make_stream: Callable[..., Stream]) -> None:
    methods = script._registered()
    assert len(methods) > len([name for name in catalog() if "clip" not in find_plugin(name)[1].traits.requires])
    for method in methods:
        uses = parse_method(method).plugins
        plugins = [load_class(catalog()[use.name])(**use.args) for use in uses]
        stream = make_stream(*plugins, head=script.head_of(method))
        stream.learner.start(scenario)


def test_named_methods_get_the_arguments_of_the_small_backbone_too(script: ModuleType) -> None:
    assert script.timed(["hide", "ncm", "hide(blocks='0')"]) == ["hide(blocks='all')", "ncm", "hide(blocks='0')"]
    assert script.timed(None) == script._registered()
