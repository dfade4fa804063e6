"""One definition of each option: the command line, Python's keywords and help follow from it."""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import clsuite
from clsuite.cli.commands.base import flag
from clsuite.cli.parser import make_parser
from clsuite.errors import UserError
from clsuite.runner.options import BenchKeywords, BenchOptions, RunKeywords, RunOptions, checked
from clsuite.tuning.options import TuneKeywords, TuneOptions

OF_PYTHON = {"methods", "seeds", "on_validation", "rank_by"}
"""Fields that are no keyword: arguments of the functions, what no call decides, and the order of a printed table."""
OF_ORDERS = {"orders", "order_budget"}
"""Fields of `bench` alone."""


def parser_of(command: str) -> argparse.ArgumentParser:
    (commands,) = [one for one in make_parser()._actions if isinstance(one, argparse._SubParsersAction)]
    parser: argparse.ArgumentParser = commands.choices[command]
    return parser


@pytest.mark.parametrize(("command", "model"), [("bench", BenchOptions), ("tune", TuneOptions)])
def test_the_command_line_has_every_option(command: str, model: type[RunOptions]) -> None:
    actions = {action.dest: action for action in parser_of(command)._actions}
    of_tune = {"methods", "force", "eval_every", "rank_by", *OF_ORDERS}
    left = {"on_validation"} | (of_tune if command == "tune" else set())
    for name, field in model.model_fields.items():
        assert (name in actions) is (name not in left), name
        if name in actions:
            assert actions[name].option_strings[0] == flag(name)
            assert actions[name].help
            assert actions[name].default in (field.get_default(call_default_factory=True), None, []), name


@pytest.mark.parametrize(
    ("function", "keywords", "model"),
    [(clsuite.run, RunKeywords, BenchOptions), (clsuite.bench, BenchKeywords, BenchOptions),
     (clsuite.tune, TuneKeywords, TuneOptions)],
)  # fmt: skip
def test_python_has_every_option(function: Any, keywords: Any, model: type[RunOptions]) -> None:
    told = set(keywords.__annotations__)
    left = {*OF_PYTHON, *(["jobs", "executor", "executor_options"] if function is clsuite.run else [])}
    left |= OF_ORDERS if function is not clsuite.bench else set()
    assert told == set(model.model_fields) - left
    shown = inspect.signature(function).parameters
    for name in told:
        field = model.model_fields[name]
        assert str(shown[name].default) == str(field.get_default(call_default_factory=True))
        assert f"    {name}: {field.description}." in function.__doc__
    assert not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in shown.values())


def test_options_are_frozen_and_right() -> None:
    options = BenchOptions(out="~/runs", limit_tasks=2)  # type: ignore[arg-type]
    assert options.out == Path.home() / "runs"
    assert (options.device, options.curve_points, options.training, options.settings) == ("auto", 200, {}, {})
    with pytest.raises(ValidationError, match="frozen"):
        options.limit_tasks = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"limit_tasks": 0}, "--limit-tasks is 0, but must be at least 1"),
        ({"limit_tasks": True}, "--limit-tasks is true, but must be a whole number"),
        ({"limit_tasks": "two"}, "--limit-tasks is 'two', but must be a whole number"),
        ({"eval_every": 0}, "--eval-every is 0, but must be at least 1"),
        ({"eval_every": 10**10}, "--eval-every is 10000000000, but must be at most 1000000000"),
        ({"curve_points": -1}, "--curve-points is -1, but must be at least 0"),
        ({"jobs": 0}, "--jobs is 0, but must be at least 1"),
        ({"timeout": 0}, "--timeout is 0, but must be more than 0"),
        ({"timeout": float("nan")}, "--timeout is nan, but must be more than 0"),
        ({"device": "gpu"}, "unknown device 'gpu': use auto, cpu, cuda, cuda:N or mps"),
        ({"out": ""}, "'' is not a path"),
        ({"training": 3}, "--training is 3, but must be a mapping"),
        ({"settings": [1]}, "--set is [1], but must be a mapping"),
        ({"limit_task": 2}, "unknown option '--limit-task'. Did you mean '--limit-tasks'?"),
        ({"validation": 0.1}, "unknown option '--validation'. Known: "),
        ({"on_validation": True}, "unknown option '--on-validation'. Known: "),
    ],
)
def test_bad_options_are_one_line(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        checked(BenchOptions, given, flag)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"trials": 0}, "trials is 0, but must be at least 1"),
        ({"validation": 1}, "validation is 1, but must be less than 1"),
        ({"metric": "acuracy"}, "unknown metric 'acuracy'. "),
        ({"search_seed": -1}, "search_seed is -1, but must be at least 0"),
    ],
)
def test_bad_options_of_a_search(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        checked(TuneOptions, given)
    assert complaint in str(caught.value)
