"""Before is before: row -1 and the first readings are of the pre-trained backbone, whatever the method."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from clsuite.plugin import Plugin
from clsuite.probes.base import Reading
from clsuite.probes.recorder import ProbeRecorder
from clsuite.scenarios import Scenario
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.l2p import L2P
from clsuite_plugins.lwf import LwF
from clsuite_plugins.ncm import NCM
from clsuite_plugins.pet import Pet
from clsuite_plugins.saft import SAFT

METHODS = {
    "finetune": Finetune,
    "l2p": L2P,
    "lwf": LwF,
    "ncm": NCM,
    "saft": SAFT,
    "prompt": lambda: Pet(kind="prompt", size=4),
}


class Sum:
    """A probe of the backbone: the sum of its features of three images."""

    def __init__(self, scenario: Scenario) -> None:
        self.rows, self.seen = scenario.tasks[0].test[:3], []

    def __call__(self, learner: Any) -> dict[str, Reading]:
        self.seen.append((learner.task.index, len(learner.plugins), learner.has_own_features))
        return {"sum": Reading(float(learner.features_of(self.rows).double().sum()), True)}


@pytest.fixture
def run(make_stream: Any, scenario: Scenario) -> Any:
    def make(method: Plugin, **how: Any) -> tuple[Any, Sum]:
        stream, probe = make_stream(method, on=scenario.first(2), loss="local"), Sum(scenario)
        stream.probes = ProbeRecorder([probe], **how)
        stream.run()
        return stream, probe

    return make


@pytest.mark.parametrize("name", [name for name in METHODS if name != "finetune"])
def test_what_is_read_before_is_the_same_for_every_method(run: Any, name: str) -> None:
    (plain, _), (other, probe) = run(Finetune()), run(METHODS[name]())
    np.testing.assert_array_equal(plain.matrix.class_incremental[0], other.matrix.class_incremental[0])
    np.testing.assert_array_equal(plain.matrix.task_aware[0], other.matrix.task_aware[0])
    assert plain.probes.entries()[0].values[0] == other.probes.entries()[0].values[0]
    assert probe.seen[0] == (0, 0, True)


@pytest.mark.slow
def test_features_of_pooled_prompts_are_none_of_the_backbones_own(run: Any) -> None:
    assert [own for _, _, own in run(L2P())[1].seen] == [True, False, False]
    assert [own for _, _, own in run(L2P(head_input="backbone"))[1].seen] == [True, True, True]


def test_a_probe_at_the_ends_leaves_dashes_between(make_stream: Any, scenario: Scenario) -> None:
    stream, probe = make_stream(Finetune()), Sum(scenario)
    stream.probes = ProbeRecorder([probe], at_ends=[True])
    stream.run()
    assert len(probe.seen) == 2
    values = stream.probes.entries()[0].values
    assert [value is None for value in values] == [False, True, True, False]


@pytest.mark.slow
def test_reading_before_the_stream_changes_no_training(make_stream: Any, scenario: Scenario) -> None:
    with_probe = make_stream(SAFT(), on=scenario.first(2), loss="local")
    with_probe.probes = ProbeRecorder([Sum(scenario)])
    without = make_stream(SAFT(), on=scenario.first(2), loss="local")
    with_probe.run(), without.run()
    np.testing.assert_array_equal(with_probe.matrix.class_incremental, without.matrix.class_incremental)
