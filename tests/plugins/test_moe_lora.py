"""MoE-LoRA: experts that a router mixes token by token, and one expert that is LoRA."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clsuite.errors import UserError
from clsuite.peft.expert_lora import ExpertLoRA, ExpertLowRank
from clsuite.peft.lora import LowRank
from clsuite_plugins.moe_lora import MoELoRA


def made(experts: int, rank: int = 4) -> ExpertLowRank:
    draws = torch.Generator().manual_seed(0)
    part = ExpertLowRank(LowRank(5, 3, rank, 2.0, False, draws), experts, draws)
    with torch.no_grad():
        part.up.normal_(generator=draws)
    return part


TOKENS = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(1))


def test_experts_are_added_by_the_softmax_of_the_router() -> None:
    part = made(2)
    shares = part.shares(TOKENS)
    torch.testing.assert_close(shares.sum(dim=-1), torch.ones(2, 6))
    expected = torch.zeros(2, 6, 3)
    for image in range(2):
        for token in range(6):
            x = TOKENS[image, token]
            gates = (part.router @ x).exp() / (part.router @ x).exp().sum()
            for expert, rows in enumerate((slice(0, 2), slice(2, 4))):
                expected[image, token] += 2.0 * gates[expert] * (part.up[:, rows] @ (part.down[rows] @ x))
    torch.testing.assert_close(part(TOKENS), expected)


def test_the_order_of_experts_does_not_matter() -> None:
    part, other = made(2), made(2)
    with torch.no_grad():
        other.router.copy_(part.router.flip(0))
        other.down.copy_(part.down[[2, 3, 0, 1]])
        other.up.copy_(part.up[:, [2, 3, 0, 1]])
    torch.testing.assert_close(other(TOKENS), part(TOKENS))


@pytest.mark.slow
def test_experts_learn_and_their_routers_move(make_stream: Any) -> None:
    stream = make_stream(MoELoRA(rank=4, experts=2), loss="local", epochs=2)
    learner = stream.learner
    learner.start(stream.scenario)
    module = learner.plugins[0].module
    assert isinstance(module, ExpertLoRA)
    first = {name: value.detach().clone() for name, value in module.named_parameters()}
    stream.run()
    moved = learner.plugins[0].module
    assert not any(torch.equal(first[name], value) for name, value in moved.named_parameters())
    assert stream.matrix.counts().of("task_aware").accuracy.diagonal().min() > 0.7


def test_what_cannot_be_is_refused(make_stream: Any) -> None:
    with pytest.raises(UserError, match="moe_lora: rank 8 cannot be divided among 3 experts"):
        MoELoRA(experts=3)
    stream = make_stream(MoELoRA(rank=2, experts=2))
    stream.learner.start(stream.scenario)
    with pytest.raises(UserError, match="depends on the token and cannot be merged"):
        stream.learner.plugins[0].module.merge(stream.learner.backbone.model)
