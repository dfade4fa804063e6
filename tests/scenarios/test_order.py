"""The order of classes: that of other code bases, and names that YAML takes for numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from test_kinds import make_table

from clsuite.errors import UserError
from clsuite.runner.spec import load_benchmark
from clsuite.scenarios import ScenarioSpec, build_scenario
from clsuite.scenarios.order import find_order

PAPERS = [68, 56, 78, 8, 23, 84, 90, 65]
"""The first classes of CIFAR-100 in PILOT, RanPAC and FeCAM, seed 1993."""


def order_of(order: Any, names: list[str], seed: int = 0) -> list[str]:
    spec = ScenarioSpec.model_validate({"order": order})
    return [names[i] for i in find_order("class", names, spec.root.order, seed)]  # type: ignore[union-attr]


def test_the_papers_order() -> None:
    names = [str(label) for label in range(100)]
    found = order_of({"numpy": 1993}, names)
    assert found[:8] == [str(label) for label in PAPERS]
    assert found == order_of({"numpy": 1993}, names, seed=7)
    assert sorted(found) == sorted(names)
    np.random.seed(1993)
    assert found == [str(label) for label in np.random.permutation(100)]
    assert found != [names[i] for i in find_order("class", names, "seed", 1993)]


def test_it_is_in_the_configuration_and_read_back() -> None:
    spec = ScenarioSpec.model_validate({"tasks": 10, "order": {"numpy": 1993}})
    content = spec.model_dump()
    assert content["order"] == {"numpy": 1993}
    assert ScenarioSpec.model_validate(content) == spec
    assert ScenarioSpec.model_validate({"tasks": 10, "order": "seed"}).model_dump()["order"] == "seed"


@pytest.mark.parametrize("name", ["cifar100_b0_inc10", "imagenet_r_b0_inc10", "cub200_b0_inc20"])
def test_the_standard_benchmarks_have_it(name: str) -> None:
    root: Any = load_benchmark(name)[0].scenario.root
    assert (root.order.numpy, root.order_seed) == (1993, None)


@given(st.integers(0, 2**32 - 1), st.integers(1, 50))
def test_any_seed_of_numpy_gives_a_permutation(seed: int, number: int) -> None:
    names = [f"c{i}" for i in range(number)]
    assert sorted(order_of({"numpy": seed}, names)) == sorted(names)


def test_numbers_are_names_of_digits() -> None:
    assert order_of([3, 1, 0, 2], ["0", "1", "2", "3"]) == ["3", "1", "0", "2"]
    assert order_of(["3", 1, "0", 2], ["0", "1", "2", "3"]) == ["3", "1", "0", "2"]
    scenario = build_scenario(make_table(4, prefix=""), ScenarioSpec.model_validate({"order": [3, 1, 0, 2]}), 5)
    assert scenario.classes == ("3", "1", "0", "2")
    domains = ScenarioSpec.model_validate({"kind": "domain_incremental", "order": [2, 1]})
    assert domains.root.order == ("2", "1")  # type: ignore[union-attr]


@pytest.mark.parametrize(("given_as", "names"), [([7], ["007"]), ([8], ["010"]), ([1, 2], ["01", "02"])])
def test_names_that_yaml_reads_as_other_numbers_are_to_be_quoted(given_as: list[int], names: list[str]) -> None:
    with pytest.raises(UserError, match=rf"write the names in quotation marks \('{names[0]}'"):
        order_of(given_as, names)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (5, "write seed, given, a list of all names, or {numpy: 1993}; not 5"),
        ("sed", "unknown order 'sed'. Did you mean 'seed'"),
        ({"nmpy": 1993}, "write {numpy: SEED} with a whole number"),
        ({"numpy": -1}, "write {numpy: SEED} with a whole number"),
        ({"numpy": 2**32}, "write {numpy: SEED} with a whole number"),
        ({"numpy": True}, "write {numpy: SEED} with a whole number"),
        ({"numpy": 1, "x": 2}, "write {numpy: SEED} with a whole number"),
        ([True, "a"], "True is not a name: write names that YAML takes for something else in quotation marks"),
        ([1.5], "1.5 is not a name"),
        ([None], "None is not a name"),
    ],
)
def test_orders_that_cannot_be(order: Any, message: str) -> None:
    for kind in ("class_incremental", "domain_incremental", "cross_domain"):
        with pytest.raises(ValidationError) as caught:
            ScenarioSpec.model_validate({"kind": kind, "order": order})
        text = caught.value.errors()[0]["msg"]
        assert message in text.replace("mtil_i, mtil_ii, ", "")


def test_the_line_of_a_bad_order(tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    path.write_text("name: b\ndataset: {name: digits}\nscenario: {tasks: 2, order: [a, 1.5]}\nmethods: {ncm: ncm}\n")
    with pytest.raises(UserError, match=r"b\.yaml:3: scenario\.order: 1\.5 is not a name: write names that"):
        load_benchmark(str(path))


@pytest.mark.parametrize(
    "order",
    [
        ["crab", "dollar_bill", "Faces-easy"],
        ["003.crab", "002.dollar_bill", "001.Faces_easy"],
        ["crab", "dollar bill", "Faces easy"],
        ["crab", "dollar-bill", "Faces_easy"],
    ],
)
def test_classes_may_be_named_as_their_folders_are(order: list[str]) -> None:
    assert find_order("class", ["Faces easy", "crab", "dollar bill"], order, 0).tolist() == [1, 2, 0]


def test_classes_may_be_named_by_their_wordnet_ids() -> None:
    names = ["goldfish", "crane (n02012849)", "own"]
    assert find_order("class", names, ["own", "n01443537", "n02012849"], 0).tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("order", "complaint"),
    [
        (["crab", "dollar_bil", "Faces_easy"], r"'dollar_bil'\. Did you mean 'dollar bill'\?"),
        (["crab", "dollar_bill", "dollar bill"], "names the class 'dollar bill' twice"),
        (["crab", "dollar_bill"], r"lacks the class 'Faces easy' \(1 of 3 are missing\)"),
    ],
)
def test_mistakes_in_names_of_folders(order: list[str], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        find_order("class", ["Faces easy", "crab", "dollar bill"], order, 0)
