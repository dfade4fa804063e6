"""Four regimes of one LoRA a task: what is in the weights after each, and what the next LoRA begins with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.options import TrainingSpec
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import find_plugin
from clsuite.runner.training import resolve_training
from clsuite.scenarios import Scenario
from clsuite_plugins.continual_lora import ContinualLoRA, larger, orthogonal_columns, without_rows

NAME = "blocks.0.attn.qkv.weight"


class Look(Plugin):
    """Keeps, at the ends of tasks, weights and LoRA before and after a method that stands between two of these."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []
        self.parts: list[dict[str, Tensor]] = []

    def on_task_end(self, learner: Learner, task: Any) -> None:
        self.weights.append(learner.backbone.model.state_dict()[NAME].clone())
        modules = learner.plugin_modules.named_parameters()
        self.parts.append({name.split("parts.")[1]: value.detach().clone() for name, value in modules})


def run(make_stream: Any, on: Scenario, regime: Any, **given: Any) -> tuple[Look, Look, Any]:
    before, after = Look(), Look()
    stream = make_stream(
        before, ContinualLoRA(regime, rank=2, targets="q", **given), after, on=on.first(2), loss="local"
    )
    start = stream.learner.backbone.model.state_dict()[NAME].clone()
    stream.run()
    before.weights.insert(0, start)
    return before, after, stream


def test_mag_max_adds_the_larger_entries_to_the_first_weights(make_stream: Any, scenario: Scenario) -> None:
    before, after, stream = run(make_stream, scenario, "mag_max")
    first, width = before.weights[0], len(before.weights[0]) // 3
    kept = torch.zeros_like(first)
    for number in range(2):
        now = torch.zeros_like(first)
        now[:width] = before.parts[number]["0_q.up"] @ before.parts[number]["0_q.down"]
        assert now.any()
        kept = torch.where(now.abs() >= kept.abs(), now, kept)
        torch.testing.assert_close(after.weights[number], first + kept)
        assert not after.parts[number]["0_q.up"].any()
    stored = stream.learner.plugins[1].stored_bytes()
    assert stored["weights"] == 4 * width * width * len(stream.learner.backbone.model.blocks)


def test_the_larger_entries() -> None:
    one, other = torch.tensor([1.0, -3.0, 2.0, 0.0]), torch.tensor([-2.0, 1.0, -2.0, 0.0])
    assert larger(one, other).tolist() == [-2, -3, -2, 0]  # the second one's where both are as large
    assert torch.equal(larger(one, one), one)
    distinct = torch.randn(40, generator=torch.Generator().manual_seed(0))
    shuffled = distinct.flip(0)
    assert torch.equal(larger(distinct, shuffled), larger(shuffled, distinct))
    assert torch.equal(larger(distinct, shuffled).abs(), torch.maximum(distinct.abs(), shuffled.abs()))


def test_ortho_by_factors_adds_the_product_of_sums_and_turns_columns(make_stream: Any, scenario: Scenario) -> None:
    before, after, _ = run(make_stream, scenario, "ortho")
    first, width = before.weights[0], len(before.weights[0]) // 3
    down, up = (sum(parts[f"0_q.{side}"] for parts in before.parts[:2]) for side in ("down", "up"))
    torch.testing.assert_close(after.weights[1][:width], first[:width] + up @ down)
    torch.testing.assert_close((after.parts[1]["0_q.down"] * down).sum(dim=0), torch.zeros(width), atol=1e-5, rtol=0)
    torch.testing.assert_close(after.parts[1]["0_q.down"].norm(dim=0), torch.ones(width))


def test_ortho_by_products_changes_no_answer_and_frees_the_rows(make_stream: Any, scenario: Scenario) -> None:
    before, after, _ = run(make_stream, scenario, "ortho", combine="products", start="rows")
    width = len(before.weights[0]) // 3
    for number in range(2):
        product = before.parts[number]["0_q.up"] @ before.parts[number]["0_q.down"]
        torch.testing.assert_close(after.weights[number][:width], before.weights[number + 1][:width] + product)
        crossed = after.parts[number]["0_q.down"] @ before.parts[number]["0_q.down"].T
        torch.testing.assert_close(crossed, torch.zeros(2, 2), atol=1e-5, rtol=0)


def test_orthogonal_columns_and_rows() -> None:
    matrix = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    turned = orthogonal_columns(matrix)
    torch.testing.assert_close((turned * matrix).sum(dim=0), torch.zeros(7), atol=1e-6, rtol=0)
    assert (turned @ matrix.T).abs().max() > 0.1  # no orthogonal subspaces
    freed = without_rows(torch.randn(2, 7, generator=torch.Generator().manual_seed(1)), matrix)
    torch.testing.assert_close(freed @ matrix.T, torch.zeros(2, 3), atol=1e-5, rtol=0)


def test_arguments_of_ortho_are_refused_elsewhere() -> None:
    with pytest.raises(UserError, match="no use for combine where regime is merge"):
        ContinualLoRA("merge", combine="products")
    with pytest.raises(UserError, match="write rank 2, or start: rows"):
        ContinualLoRA("ortho", rank=1)
    assert ContinualLoRA("ortho", rank=1, start="rows").combine == "factors"
    source = find_plugin("continual_lora")[1]
    assert resolve_training(TrainingSpec(), [("continual_lora", source)], {}, {}).loss == "local"
