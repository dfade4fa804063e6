"""User-defined probes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clsuite.backbones.spec import BackboneSpec, find_weights
from clsuite.config.class_use import ClassUse
from clsuite.errors import UserError
from clsuite.plugin.own_class import find_class
from clsuite.probes.base import ProbeContext, Reading
from clsuite.probes.own import OwnMeasure
from clsuite.probes.spec import OwnProbe

SOURCE = """
import torch
from clsuite.probes import Probe, Reading


class Says(Probe):
    def read(self, learner):
        return {answer}
"""


@pytest.fixture
def says(tmp_path: Path) -> Any:
    """Makes the measure of a probe that gives an answer, written in Python."""

    def make(answer: str) -> OwnMeasure:
        (tmp_path / "says.py").write_text(SOURCE.format(answer=answer))
        found = find_class(ClassUse(name="says.py:Says"), "probe", [tmp_path])
        backbone = BackboneSpec()
        context = ProbeContext(backbone, find_weights(backbone, []), None, found.files)
        return OwnMeasure(OwnProbe(own=found.use, name="mine"), context)

    return make


@pytest.mark.parametrize(
    ("answer", "reading"),
    [
        ("0.5", Reading(0.5, True)),
        ("None", Reading(None, True)),
        ("Reading(None, False)", Reading(None, False)),
        ("Reading(torch.tensor(0.25), False)", Reading(0.25, False)),
        ("Reading.accuracy(torch.tensor([True, False]))", Reading(0.5, True, 1, 2)),
    ],
)
def test_what_a_probe_may_give(says: Any, answer: str, reading: Reading) -> None:
    assert says(answer)(None) == {"mine": reading}


@pytest.mark.parametrize(
    "answer", ["float('nan')", "'much'", "10**400", "Reading(float('nan'), True)", "Reading(float('-inf'), False)",
               "Reading('much', True)", "Reading(torch.tensor(float('nan')), True, 1, 2)"],
)  # fmt: skip
def test_what_is_no_finite_number_is_refused_in_every_form(says: Any, answer: str) -> None:
    with pytest.raises(UserError, match=r"read\(learner\) of probe 'mine' gives .*, but must give a finite number"):
        says(answer)(None)
