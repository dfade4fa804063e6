"""Answers from prototypes and statistics are computed in full precision, whatever the run trains in."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clsuite.data.batch import gather
from clsuite.plugin import Plugin
from clsuite.scenarios import Scenario
from clsuite_plugins.aper import APER
from clsuite_plugins.ease import EASE
from clsuite_plugins.fecam import FeCAM
from clsuite_plugins.lda import LDA
from clsuite_plugins.ncm import NCM
from clsuite_plugins.ranpac import RanPAC


@pytest.mark.parametrize(
    "plugin",
    [NCM(), RanPAC(projection=64), LDA(), FeCAM(), APER(size=2), EASE(size=2)],
    ids=lambda one: type(one).__name__,
)
def test_answers_are_the_same_under_autocast(plugin: Plugin, make_stream: Any, scenario: Scenario) -> None:
    stream = make_stream(plugin, loss="local")
    stream.run()
    learner = stream.learner
    rows = scenario.tasks[0].test[:40]
    batch = gather(scenario.table, scenario.labels, rows)
    known = learner.features_of(rows)
    learner.encode = lambda batch: known  # type: ignore[method-assign]
    plain = plugin.predict(learner, batch)
    assert plain is not None
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(plugin.predict(learner, batch), plain, rtol=0, atol=0)
