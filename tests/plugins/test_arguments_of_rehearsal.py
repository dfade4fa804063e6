"""Arguments that cannot be are refused in one line, before anything is trained."""

from __future__ import annotations

from typing import Any

import pytest

from clsuite.errors import UserError
from clsuite.plugin.catalog import catalog, load_class

BUFFERS = (
    "replay",
    "der",
    "agem",
    "gdumb",
    "icarl",
    "kfpf",
    "fpf",
    "er_ace",
    "er_aml",
    "mir",
    "gss",
    "wa",
    "bic",
    "lucir",
    "foster",
)
NUMBERS: list[tuple[str, dict[str, Any], str]] = [
    ("replay", {"batch_size": 0}, "at least 1"),
    ("der", {"alpha": -0.1}, "at least 0"),
    ("der", {"beta": -1.0}, "at least 0"),
    ("der", {"batch_size": 0}, "at least 1"),
    ("agem", {"batch_size": 0}, "at least 1"),
    ("icarl", {"batch_size": -1}, "at least 1"),
    ("mix_cd", {"levels": 0}, "at least 1"),
    ("mix_cd", {"floor": 0.0}, "above 0 and at most 1"),
    ("mix_cd", {"decay": 1.5}, "at least 0 and at most 1"),
    ("lwf", {"alpha": -1.0}, "at least 0"),
    ("lwf", {"temperature": 0.0}, "above 0"),
    ("lwf", {"warmup_epochs": -3}, "at least 0"),
    ("lwf", {"warmup_lr": -1.0}, "above 0"),
    ("ewc", {"penalty": -1e6}, "at least 0"),
    ("ewc", {"penalty": float("inf")}, "a finite number"),
    ("ewc", {"gamma": -1.0}, "at least 0 and at most 1"),
    ("ewc", {"samples": 0}, "at least 1"),
    ("mas", {"alpha": 2.0}, "at least 0 and at most 1"),
    ("si", {"xi": 0.0}, "above 0"),
    ("rwalk", {"interval": 0}, "at least 1"),
    ("fpf", {"lr": -1.0}, "above 0"),
    ("fpf", {"momentum": 2.0}, "at least 0 and below 1"),
    ("fpf", {"steps": 0}, "at least 1"),
    ("fpf", {"batch_size": 0}, "at least 1"),
    ("kfpf", {"lr": 0.0}, "above 0"),
    ("kfpf", {"momentum": 1.0}, "at least 0 and below 1"),
    ("kfpf", {"alpha": -0.5}, "at least 0"),
    ("kfpf", {"per_task": 0}, "at least 1"),
    ("er_ace", {"batch_size": 0}, "at least 1"),
    ("er_aml", {"temperature": 0.0}, "above 0"),
    ("mir", {"candidates": 0}, "at least 1"),
    ("mir", {"lr": 0.0}, "above 0"),
    ("gss", {"comparisons": 0}, "at least 1"),
    ("wa", {"distillation": 1.5}, "at least 0 and at most 1"),
    ("wa", {"temperature": 0.0}, "above 0"),
    ("bic", {"held_out": 0.0}, "above 0 and below 1"),
    ("bic", {"lr": 0.0}, "above 0"),
    ("bic", {"penalty": -1.0}, "at least 0"),
    ("lucir", {"less_forget": -1.0}, "at least 0"),
    ("lucir", {"hardest": 0}, "at least 1"),
    ("foster", {"beta": 1.0}, "at least 0 and below 1"),
    ("foster", {"compression_epochs": 0}, "at least 1"),
    ("momentum", {"tau": 1.0}, "at least 0 and below 1"),
]


def make(name: str, given: dict[str, Any]) -> Any:
    return load_class(catalog()[name])(**given)


@pytest.mark.parametrize(("name", "given", "wanted"), NUMBERS, ids=lambda value: str(value))
def test_numbers_that_cannot_be(name: str, given: dict[str, Any], wanted: str) -> None:
    ((argument, value),) = given.items()
    with pytest.raises(UserError, match=f"^{name}: {argument} is {value}, but must be {wanted}$"):
        make(name, given)


@pytest.mark.parametrize("capacity", [0, -3])
@pytest.mark.parametrize("name", BUFFERS)
def test_a_capacity_that_cannot_be_names_the_plugin(name: str, capacity: int) -> None:
    with pytest.raises(UserError, match=f"^{name}: capacity is {capacity}, but must be at least 1$"):
        make(name, {"capacity": capacity})


@pytest.mark.parametrize("name", BUFFERS)
def test_buffers_have_one_capacity_where_nothing_is_said(name: str) -> None:
    source = catalog()[name].source
    assert source is not None
    assert {parameter.name: parameter.default for parameter in source.parameters}["capacity"] == 500
