"""What pydantic finds wrong is told in our words, whatever a specification can be given."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from clsuite.board.model import Reported
from clsuite.config.error_text import NEEDS, PHRASES, first_mistake, in_words, shown
from clsuite.config.spec import Spec
from clsuite.pretrain.clip_spec import ClipPretrainSpec
from clsuite.pretrain.spec import PretrainSpec
from clsuite.records import RunRecord
from clsuite.runner.spec import BenchmarkSpec
from clsuite.scenarios.spec import MODELS

BAD: tuple[Any, ...] = (
    None, True, -1, 10**30, 0.5, math.nan, math.inf, "", "x", "x" * 500, "\x1b[31m", [], [None], [[]], {}, {"x": 1},
    {1: 2}, datetime.date(2020, 1, 1), b"\xff", ("a",), object(), {"kind": "x"}, {"name": 3}, [{"kind": "x"}, 3],
)  # fmt: skip
PYDANTIC = re.compile(
    r"Input should|valid (?!in)\w+|instance of|errors\.pydantic|pattern '|Value error|validation error|\n"
)


def specifications(kind: type[BaseModel] = Spec) -> Iterator[type[BaseModel]]:
    for derived in kind.__subclasses__():
        if not derived.__name__.startswith("_"):
            yield derived
        yield from specifications(derived)


CHECKED = [*specifications(), BenchmarkSpec, PretrainSpec, ClipPretrainSpec, Reported, RunRecord, *MODELS.values()]
FIELDS = sorted({(model, name) for model in CHECKED for name in model.model_fields}, key=str)


def errors_of(model: type[BaseModel], content: Any) -> Iterator[Any]:
    try:
        TypeAdapter(model).validate_python(content)
    except ValidationError as error:
        yield from error.errors()


@pytest.mark.parametrize("model", sorted(set(CHECKED), key=str), ids=lambda model: model.__name__)
def test_every_mistake_that_a_specification_can_have_is_told_in_our_words(model: type[BaseModel]) -> None:
    told = [error for bad in BAD for error in errors_of(model, bad)]
    told += [error for name in model.model_fields for bad in BAD for error in errors_of(model, {name: bad})]
    assert told
    for error in told:
        assert error["type"] in {*NEEDS, *PHRASES, "value_error"}, error
        text = in_words(error, "a.b")
        assert text.startswith("a.b"), text
        assert text.isprintable(), text
        assert not PYDANTIC.search(text), text


def test_no_number_field_takes_true() -> None:
    for model, name in FIELDS:
        annotation = str(model.model_fields[name].annotation)
        if annotation in ("<class 'int'>", "int | None", "<class 'float'>", "float | None") and issubclass(model, Spec):
            assert any(error["loc"] == (name,) for error in errors_of(model, {name: True})), (model, name)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "empty"), (True, "true"), ("a b", "'a b'"), ([1], "[1]"), (datetime.date(2020, 1, 2), "2020-01-02"),
        ("x" * 100, "'" + "x" * 59 + "…"), ("\x1b", r"'\x1b'"), ([10**5000], "too long to be shown"),
    ],
)  # fmt: skip
def test_values_are_shown_as_people_wrote_them(value: Any, text: str) -> None:
    assert shown(value) == text


def test_the_whole_has_a_name_of_its_own() -> None:
    with pytest.raises(ValidationError) as caught:
        BenchmarkSpec.model_validate(3)
    assert (
        first_mistake(caught.value, "the benchmark") == "the benchmark is 3, but must be a mapping, such as {name: ...}"
    )
