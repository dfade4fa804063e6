"""Spaces as people write them, the places of hyperparameters, and what is proposed."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from clsuite.errors import UserError
from clsuite.plugin.catalog import find_plugin
from clsuite.runner.methods import MethodSpec
from clsuite.tuning import space
from clsuite.tuning.parameters import ParameterPath, find_places, with_values
from clsuite.tuning.sampler import Sampler
from clsuite.tuning.space import Choice, Dimension, Range, parse_space, points


def test_a_space_of_every_kind() -> None:
    text = (
        "alpha=[0.1, 'a,b', [1, 2], None], lr = loguniform(1e-5, 1e-2), x.y=uniform(-1, 2), n=int(1, 3), m=logint(1, 8)"
    )
    assert parse_space(text) == (
        Dimension("alpha", Choice((0.1, "a,b", [1, 2], None))),
        Dimension("lr", Range(1e-5, 1e-2, True, False)),
        Dimension("x.y", Range(-1, 2, False, False)),
        Dimension("n", Range(1, 3, False, True)),
        Dimension("m", Range(1, 8, True, True)),
    )


def test_words_need_no_quotation_marks() -> None:
    (dimension,) = parse_space("modules=[norm+head, 'a+b', all, -1, True]")
    assert dimension.values == Choice(("norm+head", "a+b", "all", -1, True))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=['x'+y]", "write .value"),
        ("a=[x-y]", "write .value"),
        ("", "--space is empty"),
        ("alpha", "cannot read 'alpha' in --space: write NAME="),
        ("2=[1]", "cannot read '2=.1.' in --space"),
        ("a=[1], a=[2]", "has 'a' twice"),
        ("a=[]", "it is an empty list"),
        ("a=loguniform(0, 1)", "needs a lower bound above zero"),
        ("a=uniform(2, 1)", "needs a lower bound below the upper one"),
        ("a=uniform(1)", "with two numbers"),
        ("a=uniform('x', 1)", "with two numbers"),
        ("a=int(0.5, 2)", "it needs whole bounds"),
        ("a=normal(0, 1)", "it has 'normal', which is not one of uniform, loguniform, int, logint"),
        ("a=[open('x')]", "write .value"),
        ("a=3", "write .value"),
        ("a=(", "write .value"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_space(text)


def test_a_reason_is_shown_in_any_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(node: Any) -> float:
        raise space._SpaceError("bounds of this kind are refused")

    monkeypatch.setattr(space, "_number", refuse)
    with pytest.raises(UserError, match=r"'uniform\(0, 1\)': bounds of this kind are refused$"):
        parse_space("a=uniform(0, 1)")


@pytest.mark.parametrize(
    ("text", "number"), [("a=[1, 2], n=int(1, 3)", 6), ("a=[1], b=uniform(0, 1)", None), ("a=[7]", 1)]
)
def test_points_of_a_space(text: str, number: int | None) -> None:
    assert points(parse_space(text)) == number


METHOD = MethodSpec.model_validate(["lwf", {"replay": {"capacity": 20}}])
SOURCES = [find_plugin("lwf")[1], find_plugin("replay")[1]]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("alpha", ParameterPath(0, ("alpha",))),
        ("lwf.alpha", ParameterPath(0, ("alpha",))),
        ("capacity", ParameterPath(1, ("capacity",))),
        ("replay.batch_size", ParameterPath(1, ("batch_size",))),
        ("training.batch_size", ParameterPath(None, ("batch_size",))),
        ("epochs", ParameterPath(None, ("epochs",))),
        ("lr", ParameterPath(None, ("optimizer", "lr"))),
        ("optimizer.lr", ParameterPath(None, ("optimizer", "lr"))),
        ("training.optimizer.head_lr", ParameterPath(None, ("optimizer", "head_lr"))),
    ],
)
def test_where_a_name_belongs(name: str, place: ParameterPath) -> None:
    assert find_places([Dimension(name, Choice((1,)))], METHOD, SOURCES) == {name: place}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["alhpa"], "hyperparameter in --space: 'alhpa'. Did you mean 'alpha'"),
        (["batch_size"], "may be 'training.batch_size' or 'replay.batch_size': write which"),
        (["lr", "optimizer.lr"], "'lr' and 'optimizer.lr' in --space are the same"),
    ],
)
def test_names_that_are_not_clear(names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_places([Dimension(name, Choice((1,))) for name in names], METHOD, SOURCES)


def test_values_go_to_their_places() -> None:
    values = {"alpha": 0.3, "lr": 1e-4, "epochs": 2, "capacity": [5]}
    places = find_places([Dimension(name, Choice((1,))) for name in values], METHOD, SOURCES)
    chosen = with_values(METHOD, places, values)
    assert [use.args for use in chosen.plugins] == [{"alpha": 0.3}, {"capacity": [[5]]}]
    assert chosen.training == {"optimizer": {"lr": 1e-4}, "epochs": 2}


def best_of(seed: int, text: str, trials: int) -> tuple[str, list[dict[str, Any]]]:
    sampler = Sampler(parse_space(text), trials, seed, maximize=True)
    tried: list[dict[str, Any]] = []
    while len(tried) < sampler.trials:
        proposed = sampler.ask(min(4, sampler.trials - len(tried)))
        sampler.tell([None if p["a"] == 3 else -((p.get("x", 0) - 0.5) ** 2) for p in proposed])
        tried += proposed
    return sampler.name, tried


def test_few_points_are_all_tried_once() -> None:
    name, tried = best_of(0, "a=[1, 2, 3], b=int(1, 2)", 20)
    assert name == "grid"
    assert tried == [{"a": a, "b": b} for a in (1, 2, 3) for b in (1, 2)]


def test_the_same_seed_proposes_the_same_and_learns_from_the_scores() -> None:
    text = "a=[1, 2, 3], x=uniform(0, 1)"
    first, again, other = (best_of(seed, text, 48) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert first[0] == "tpe"
    distance = [abs(point["x"] - 0.5) for point in first[1]]
    assert sum(distance[-16:]) < 0.7 * sum(distance[:16])


def test_without_optuna_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"clsuite tune needs Optuna: pip install 'clsuite\[tune\]'"):
        best_of(0, "a=[1]", 1)
