"""Weights as values: means, differences, and the largest of their entries."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from clsuite.errors import UserError
from clsuite.learner.weights import mean_of, set_weights, task_vector, top_share, weights_of


def net(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def test_a_copy_has_parameters_and_running_statistics_and_stays() -> None:
    module = net(0)
    kept = weights_of(module)
    assert kept.keys() == {"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"}
    before = kept["0.weight"].clone()
    with torch.no_grad():
        module[0].weight.zero_()
    assert torch.equal(kept["0.weight"], before)
    module[0].requires_grad_(False)
    assert weights_of(module, trained=True).keys() == {"1.weight", "1.bias", "1.running_mean", "1.running_var"}


def test_means_are_entry_by_entry_and_by_share() -> None:
    one, other = weights_of(net(0)), weights_of(net(1))
    plain, shared = mean_of([one, other]), mean_of([one, other], [3, 1])
    for name in one:
        torch.testing.assert_close(plain[name], (one[name] + other[name]) / 2)
        torch.testing.assert_close(shared[name], 0.75 * one[name] + 0.25 * other[name])
    counts = [{"n": torch.tensor(number)} for number in (1, 4)]
    assert int(mean_of(counts)["n"]) == 4
    with pytest.raises(UserError, match=r"'0\.bias' is only in one of them"):
        mean_of([one, {name: value for name, value in other.items() if name != "0.bias"}])
    with pytest.raises(UserError, match="0 weights"):
        mean_of([])
    with pytest.raises(UserError, match="2 weights and 1 shares"):
        mean_of([one, other], [1])


def test_a_task_vector_leads_from_the_start_to_the_end() -> None:
    module = net(0)
    start = weights_of(module)
    with torch.no_grad():
        module[0].weight.add_(0.5)
    vector = task_vector(module, start)
    torch.testing.assert_close(vector["0.weight"], torch.full((2, 3), 0.5))
    assert float(vector["0.bias"].abs().sum()) == 0
    assert task_vector(module, {"0.weight": start["0.weight"]}).keys() == {"0.weight"}
    with pytest.raises(UserError, match="'gone' is only in one of them"):
        task_vector(module, {**start, "gone": torch.zeros(1)})


def test_the_largest_share_is_exact_over_all_tensors() -> None:
    scores = {"a": torch.arange(6.0).view(2, 3), "b": torch.arange(6.0, 10.0)}
    masks = top_share(scores, 0.5)
    assert masks["a"].tolist() == [[False] * 3, [False, False, True]]
    assert masks["b"].tolist() == [True] * 4
    assert not any(mask.any() for mask in top_share(scores, 0.0).values())
    with pytest.raises(UserError, match="share is 2"):
        top_share(scores, 2)


def test_weights_that_are_set_are_seen_in_features(make_stream: Any) -> None:
    stream = make_stream()
    learner = stream.learner
    learner.start(stream.scenario)
    learner.begin_task(stream.scenario.tasks[0])
    learner.requires_grad_(False)
    rows = stream.scenario.tasks[0].train
    before = learner.features_of(rows).clone()
    kept = weights_of(learner)
    set_weights(learner, {name: 0.9 * value for name, value in kept.items()})
    assert not torch.allclose(learner.features_of(rows), before)
    set_weights(learner, kept)
    assert torch.equal(learner.features_of(rows), before)
    with pytest.raises(UserError, match="head"):
        set_weights(learner, {"head.groups.0.wieght": torch.zeros(2)})
