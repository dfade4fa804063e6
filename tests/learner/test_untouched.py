"""Row -1 is read from features that runs share, in the very bits of a pass through the network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clsuite.learner import untouched
from clsuite.learner.learner import Learner
from clsuite.learner.untouched import Untouched
from clsuite.plugin import Plugin
from clsuite.probes.probes import predict_rows
from clsuite.scenarios import Scenario


def read_before(make_stream: Any, monkeypatch: pytest.MonkeyPatch, kind: type[Learner], precision: str) -> Any:
    """The predictions of row -1, and the logits of two evaluations in other batches."""
    logits: list[torch.Tensor] = []
    monkeypatch.setattr(untouched, "Untouched", kind)
    stream = make_stream(Plugin(), precision=precision)

    def read(learner: Learner, row: int, last: bool) -> None:
        assert type(learner) is kind
        tests = np.unique(np.concatenate([part.test for part in learner.scenario.eval_splits]))
        logits.extend(predict_rows(learner, rows) for rows in (tests, tests[1:]))

    monkeypatch.setattr(stream.probes, "read", read)
    stream._read_before()
    return stream.matrix.arrays(), logits


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_looked_up_answers_have_the_bits_of_computed_ones(
    make_stream: Any, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    (ours, looked_up), (theirs, computed) = (
        read_before(make_stream, monkeypatch, kind, precision) for kind in (Untouched, Learner)
    )
    assert {name: array.tobytes() for name, array in ours.items()} == {
        name: array.tobytes() for name, array in theirs.items()
    }
    assert all(torch.equal(one, other) for one, other in zip(looked_up, computed, strict=True))


def test_each_evaluation_asks_for_features_in_its_own_batches(make_stream: Any, scenario: Scenario) -> None:
    asked: list[tuple[list[int], int | None]] = []
    stream = make_stream(Plugin())
    plain = Untouched(stream.learner.backbone, stream.learner.options, [], 0)
    usual = plain.feature_source

    def source(backbone: Any, table: Any, rows: Any, batch_size: int | None = None) -> torch.Tensor:
        asked.append((rows.tolist(), batch_size))
        return usual(backbone, table, rows, batch_size)

    plain.feature_source = source
    plain.start(scenario)
    plain.begin_task(scenario.tasks[0])
    rows = scenario.tasks[0].test
    assert plain.have_features(rows, 4)
    assert plain.have_features(rows[::-1].copy(), 3)
    assert asked == [(rows.tolist(), 4), (rows[::-1].tolist(), 3)]
    plain.requires_grad_(False)
    assert plain.have_features(rows, 5)
    assert len(asked) == 2
