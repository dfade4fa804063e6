"""What published records say of one another: the size of a network of backbone and head alone."""

from __future__ import annotations

from typing import Any

from published_records import make_record

from clsuite.board.published import RecordSetCheck
from clsuite.records import RunRecord


def of_size(parameters: int, method: str, **training: Any) -> RunRecord:
    record = make_record(method, 0)
    assert record.cost is not None
    cost = record.cost.model_copy(update={"total_parameters": parameters})
    return make_record(method, 0, cost=cost, config=record.config | {"training": training})


def test_a_head_of_all_the_streams_classes_is_held_against_its_like() -> None:
    """In a stream of which only the first tasks are learned, such a head has more rows than one that grows."""
    check = RecordSetCheck()
    assert not check.problem(of_size(9, "grows", head_classes="seen"), "images", "grows")
    assert not check.problem(of_size(19, "whole", head_classes="stream"), "images", "whole")
    refused = check.problem(of_size(19, "other", head_classes="seen", lr=1.0), "images", "other")
    assert refused.startswith("it says 19 and 1, but 'grows' 9 and 1 parameters and FLOPs for an image")
    assert check.problem(of_size(9, "small", head_classes="stream", lr=1.0), "images", "small").startswith("it says 9")
