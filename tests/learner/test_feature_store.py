"""Features that are kept take the memory of the rows that were asked for, and not of the whole table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from clsuite.learner.features import FeatureStore, compute_features, in_eval_mode
from clsuite.scenarios import Scenario


def test_only_known_rows_take_memory_and_each_is_found_again(make_stream: Any, scenario: Scenario) -> None:
    backbone = make_stream().learner.backbone
    store, images = FeatureStore(scenario), scenario.table.images
    asked = [scenario.tasks[2].test[::-1].copy(), scenario.tasks[0].test, scenario.tasks[2].test[:3]]
    assert [store.add(backbone, rows) for rows in asked] == [len(asked[0]), len(asked[1]), 0]
    for rows in asked:
        expected = compute_features(backbone, images, rows)
        torch.testing.assert_close(store.lookup(torch.from_numpy(rows)), expected, rtol=1e-5, atol=1e-5)
    assert store._features is not None
    assert len(store._features) <= 2 * (len(asked[0]) + len(asked[1])) < len(scenario.table)
    store.clear()
    assert store.add(backbone, np.asarray(asked[1][:2])) == 2


def test_the_mode_is_restored_after_an_error() -> None:
    backbone: Any = nn.Sequential(nn.Linear(1, 1))

    def fail() -> None:
        with in_eval_mode(backbone):
            assert not backbone[0].training
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert backbone.training
    assert backbone[0].training
