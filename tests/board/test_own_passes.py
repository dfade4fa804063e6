"""Methods that count backward passes of their own declare them, so that their records are not taken for wrong ones."""

from __future__ import annotations

import pytest

from clsuite.board.validate.costs import OWN_PASSES, REHEARSED, Method
from clsuite.plugin.catalog import catalog, find_plugin

COUNTING = [name for name in sorted(catalog()) if "count_gradients(" in find_plugin(name)[1].text]


def test_there_are_some() -> None:
    assert {"cl_lora", "duct", "hide", "sema"} <= {*COUNTING}


@pytest.mark.parametrize("name", COUNTING)
def test_a_board_expects_more_samples_than_those_of_the_steps(name: str) -> None:
    method = Method((find_plugin(name)[1],), is_known=True, is_current=True)
    assert method.has_own_passes
    assert method.plans or method.trains_before or method.memory & REHEARSED or method.effects & OWN_PASSES
