"""Planted mistakes: the right check names each, with the right line and fix, and nothing else is blamed."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mistakes import MISTAKES, SOUND

from clsuite.conformance import check_method
from clsuite.conformance.plugin_under_test import subject_of
from clsuite.plugin.catalog import find_plugin, load_class

FREQUENT = (
    "forgot super().__init__()",
    "parameter created too late",
    "buffer not in state_dict",
    "in-place change of the batch",
    "torch's global generator",
    "gradient left on frozen weights",
    "head index wrong: new classes first",
    "head index wrong: a group for each task",
    "wrong device: named in the source",
    "wrong device: a tensor that stays on the CPU",
    "wrong device: in transform_images",
    "parameter groups are parameters",
    "returns a float",
    "changes the trainer's loader",
    "a ViT is needed and not declared",
    "misspelled hook",
    "overrides nothing",
    "a hook with too few arguments",
    "calls backward itself",
    "a name that is not imported",
    "an argument without a type",
)
"""The mistakes that authors make most; the others are looked for on request."""
OTHERS = [pytest.param(name, marks=pytest.mark.nightly) for name in MISTAKES if name not in FREQUENT]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FREQUENT, *OTHERS])
def test_each_mistake_is_named_rightly(name: str, tmp_path: Path) -> None:
    mistake = MISTAKES[name]
    path = tmp_path / "method.py"
    path.write_text(mistake.text)
    cls = load_class(find_plugin(f"{path}:Method")[0])
    report = check_method([subject_of(cls, cls, "method.py")], partners={})
    shown = "\n".join(map(str, report.findings))
    named = [one for one in report.of(mistake.check).findings if mistake.message in one.message]
    assert named, shown
    assert {one.check for one in report.findings} == {mistake.check, *mistake.also}, shown
    assert (named[0].file, named[0].line) == ("method.py", mistake.line), shown
    assert mistake.fix in named[0].fix, shown


@pytest.mark.slow
def test_the_check_leaves_the_process_as_it_was(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    usual = torch.get_deterministic_debug_mode()
    request.addfinalizer(lambda: torch.set_deterministic_debug_mode(usual))
    torch.set_deterministic_debug_mode("warn")
    path = tmp_path / "method.py"
    path.write_text(MISTAKES["patches a function of torch"].text)
    cls = load_class(find_plugin(f"{path}:Method")[0])
    torch.manual_seed(1)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    function, deterministic = torch.nn.functional.cross_entropy, torch.get_deterministic_debug_mode()
    assert check_method([cls], partners={}).of("leftovers").findings
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == states[1:]
    assert torch.nn.functional.cross_entropy is function
    assert torch.get_deterministic_debug_mode() == deterministic


@pytest.mark.slow
def test_questions_about_the_device_and_its_own_copies_are_no_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "method.py"
    path.write_text(SOUND)
    cls = load_class(find_plugin(f"{path}:Method")[0])
    report = check_method([cls])
    assert not report.findings, "\n".join(map(str, report.findings))
    assert not [outcome for outcome in report.outcomes if outcome.skipped]
