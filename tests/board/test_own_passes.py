"""Methods that count backward passes of their own declare them, so that their records are not taken for wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from clsuite.board.validate.costs import OWN_PASSES, REHEARSED, Method, step_problem
from clsuite.plugin.catalog import catalog, find_plugin
from clsuite.records import read_record

RECORDS = Path(__file__).parents[2] / "leaderboard" / "records"
COUNTING = [name for name in sorted(catalog()) if "count_gradients(" in find_plugin(name)[1].text]


def test_there_are_some() -> None:
    assert {"cl_lora", "duct", "hide", "sema"} <= {*COUNTING}


@pytest.mark.parametrize("name", COUNTING)
def test_a_board_expects_more_samples_than_those_of_the_steps(name: str) -> None:
    method = Method((find_plugin(name)[1],), is_known=True, is_current=True)
    assert method.has_own_passes
    assert method.plans or method.trains_before or method.memory & REHEARSED or method.effects & OWN_PASSES


@pytest.mark.parametrize(("counted", "told"), [(19_360, False), (50_000, True)])
def test_passes_besides_the_steps_are_counted_by_the_images_of_a_task(counted: int, told: bool) -> None:
    """MoE-Adapters' autoencoder takes 300 steps of 64 features, whatever the 20 steps of 8 images of the network."""
    record = read_record(next((RECORDS / "mini_mtil" / "moe_adapters").glob("*.json")))
    tasks = [task.model_copy(update={"gradient_samples": counted}) for task in record.tasks]
    changed = record.model_copy(update={"tasks": tuple(tasks)})
    training = [303, 300, 300, 308]
    assert ("gradient samples" in step_problem(changed, training, repeats=1)) == told
