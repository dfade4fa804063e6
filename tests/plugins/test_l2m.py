"""L2M: a pool whose entries are avoided the more often they were used."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.options import OptimizerSpec
from clsuite.plugin import Plugin
from clsuite.scenarios import Scenario
from clsuite_plugins.l2m import L2M, rarity
from clsuite_plugins.l2p import L2P

SMALL: dict[str, Any] = {"size": 2, "pool": 4, "top_k": 1, "blocks": "all", "targets": "q+v"}
SGD = OptimizerSpec(name="sgd", lr=0.01, weight_decay=0.0)


def test_the_penalty_is_the_similarity_times_the_inverse_of_the_usage() -> None:
    method = L2M(**{**SMALL, "pool": 3})
    cosines = torch.tensor([[0.9, 0.8, -0.5], [0.2, 0.2, 0.2]])
    assert method._choose(cosines, training=True)[:, 0].tolist()[0] == 0  # nothing was used yet
    method._chosen_before = torch.tensor([60.0, 30.0, 10.0])
    assert rarity(method._chosen_before).tolist() == pytest.approx([1 / 9, 2 / 9, 6 / 9], rel=1e-4)
    # (1.9, 1.8, 0.5) / 2 times (1, 2, 6) / 9; of equal similarities the least used one wins
    assert method._choose(cosines, training=True)[:, 0].tolist() == [1, 2]
    assert method._choose(cosines, training=False)[0].tolist() == [0]
    method._chosen_before = torch.tensor([99.0, 1.0, 0.0])
    assert method._choose(cosines, training=True)[:, 0].tolist() == [2, 2]  # what was never used comes first


@pytest.mark.slow
def test_without_the_penalty_it_is_l2p_to_the_bit(make_stream: Any, scenario: Scenario) -> None:
    two = scenario.first(2)
    mine = make_stream(L2M(**SMALL, alpha=2.0, similarity=0.1, diversify=False), on=two, loss="local")
    theirs = make_stream(L2P(pet="lora", **SMALL), on=two, loss="local")
    mine.run()
    theirs.run()
    found = mine.learner.state_dict()
    for name, value in theirs.learner.state_dict().items():
        assert torch.equal(found[name.replace("L2P", "L2M")], value), name


def test_entries_that_are_not_chosen_keep_their_bits_and_the_most_used_one_rests(
    make_stream: Any, scenario: Scenario
) -> None:
    method = L2M(**SMALL, similarity=0.0)
    used: list[torch.Tensor] = []

    class Look(Plugin):
        def on_task_start(self, learner: Learner, task: Any) -> None:
            self.before = {name: value.detach().clone() for name, value in method.module.named_parameters()}

        def on_task_end(self, learner: Learner, task: Any) -> None:
            used.append(method._chosen_before.clone() - sum(used))
            part = method.module.parts["0_v"].up.detach()
            moved = (part != self.before["parts.0_v.up"]).any(dim=0).view(4, 2).any(dim=1)
            assert torch.equal(moved, used[-1] > 0)

    make_stream(method, Look(), on=scenario.first(2), loss="local", optimizer=SGD).run()
    assert used[1][used[0].argmax()] == 0


def test_factor_and_targets_are_the_authors() -> None:
    assert L2M()._build == {
        "size": 8, "blocks": "all", "targets": "q+v+fc1", "alpha": 16.0, "prompt_init": None,
        "adapter_scale": None, "adapter_dropout": None,
    }  # fmt: skip
    assert (L2M().similarity, L2M().pool, L2M().top_k) == (0.5, 30, 1)
    assert "alpha" not in L2M(pet="ia3")._build
    with pytest.raises(UserError, match="no use for targets where pet is ia3"):
        L2M(pet="ia3", targets="q")
