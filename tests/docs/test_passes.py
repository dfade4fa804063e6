"""Passes of a test image, as the page of methods has them, are those of the methods."""

from __future__ import annotations

import pytest
from measure_passes import measured, on_the_quickstart

from clsuite.runner.methods import write_method
from clsuite_docs import methods, passes


def test_every_method_was_measured() -> None:
    missing = {*methods.names()} ^ {*passes.read()}
    assert not missing, f"python docs/generator/measure_passes.py --write {' '.join(sorted(missing))}"


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ([1, 1, 1], "1"), ([1, 2, 2], "2"), ([1, 2, 3], "T"), ([1, 3, 4], "T + 1"), ([1, 1.5, 2], "0.5 T + 0.5"),
        ([1, 1, 2], "T - 1"),
    ],
)  # fmt: skip
def test_passes_are_told_by_the_number_of_tasks(counts: list[float], words: str) -> None:
    assert passes.text(counts) == words


def test_methods_are_measured_as_the_quickstart_has_them() -> None:
    assert write_method(on_the_quickstart("hide")) == "hide(blocks='all')"
    assert [use.name for use in on_the_quickstart("first_session").plugins] == ["first_session", "ncm"]
    assert write_method(on_the_quickstart("zero_shot")) == "zero_shot"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [one if one == "l2p" else pytest.param(one, marks=pytest.mark.nightly) for one in methods.names()]
)
def test_passes_are_as_measured_now(name: str) -> None:
    assert measured(name) == passes.read()[name]
