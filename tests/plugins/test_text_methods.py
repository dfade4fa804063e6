"""Parameter-efficient modules in both towers of a CLIP, below a zero-shot head."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clip_streams import MakeStream, assert_resumes_as, clip_stream

from clsuite.backbones.class_texts import ClassTexts
from clsuite.errors import UserError
from clsuite.plugin import Plugin
from clsuite.scenarios import Scenario
from clsuite_plugins.pet import Pet
from clsuite_plugins.wise_ft import WiSEFT

__all__ = ["make_clip"]


@pytest.fixture
def make_clip(scenario: Scenario) -> MakeStream:
    """Makes a stream of digits for a random clip_nano."""
    return partial(clip_stream, scenario)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "towers"), [("lora", "both"), ("adapter", "text"), ("prompt", "both")])
def test_modules_are_trained_in_the_chosen_towers(
    kind: Any, towers: Any, make_clip: MakeStream, tmp_path: Path, scenario: Scenario
) -> None:
    given: dict[str, Any] = {"head": "zero_shot", "tune": towers, "loss": "local"}
    whole = make_clip(Pet(kind, size=2), **given)
    clip = whole.learner.backbone
    before = {name: value.detach().clone() for name, value in clip.named_parameters()}
    whole.run()
    assert all(torch.equal(value, before[name]) for name, value in clip.named_parameters())
    names = {name.split(".")[0] for name in whole.learner.plugin_modules.state_dict()}
    assert names == {"Pet_text_module"} | ({"Pet_module"} if towers == "both" else set())
    trained = whole.learner.plugin_modules["Pet_text_module"].state_dict()
    whole_again = make_clip(Pet(kind, size=2), **given)
    whole_again.learner.start(scenario)
    first = whole_again.learner.plugin_modules["Pet_text_module"].state_dict()
    assert any(not torch.equal(value, first[name]) for name, value in trained.items())
    assert whole.learner.frozen == (towers == "text")  # features of images are looked up
    with torch.no_grad():
        rows = scenario.tasks[0].test
        fresh = ClassTexts(clip, scenario.classes).logits(whole.learner.features_of(rows), 6)
    last = whole.matrix.class_incremental[-1][whole.matrix.task == 0]
    np.testing.assert_array_equal(last, fresh.argmax(dim=1).numpy())
    assert_resumes_as(whole, lambda **more: make_clip(Pet(kind, size=2), **given, **more), tmp_path)


def test_merged_lora_moves_both_towers(make_clip: MakeStream) -> None:
    stream = make_clip(Pet("lora", size=2, after_task="merge"), head="zero_shot", tune="both")
    before = {name: value.detach().clone() for name, value in stream.learner.backbone.clip.named_parameters()}
    stream.run()
    moved = {
        name for name, value in stream.learner.backbone.clip.named_parameters() if not torch.equal(value, before[name])
    }
    assert any(name.startswith("visual.") for name in moved)
    assert any(name.startswith("transformer.") for name in moved)


def test_modules_in_the_text_tower_need_a_head_that_reads_texts(make_clip: MakeStream, scenario: Scenario) -> None:
    with pytest.raises(UserError, match="zero_shot"):
        make_clip(Pet("lora", towers="text")).learner.start(scenario)
    with pytest.raises(UserError, match="words"):
        Pet("lora", words="a photo")


class FixedScale(Plugin):
    """Freezes the logit scale, as ZSCL's comparison does."""

    def on_stream_start(self, learner: Any, scenario: Any) -> None:
        learner.backbone.clip.logit_scale.requires_grad_(False)


def test_wise_ft_at_the_setting_of_zscl_averages_both_towers_and_no_scale(make_clip: MakeStream) -> None:
    """0.8 of the weights after a task and 0.2 of those before it."""
    stream = make_clip(FixedScale(), WiSEFT(alpha=0.8), head="zero_shot", loss="local", tune="both")
    clip, end = stream.learner.backbone.clip, stream.learner.end_task
    kept = [{name: value.detach().clone() for name, value in clip.named_parameters()}]

    def look(task: Any) -> None:
        trained = {name: value.detach().clone() for name, value in clip.named_parameters()}
        end(task)
        for name, value in clip.named_parameters():
            torch.testing.assert_close(value, 0.8 * trained[name] + 0.2 * kept[-1][name], rtol=1e-5, atol=1e-7)
        kept.append({name: value.detach().clone() for name, value in clip.named_parameters()})

    stream.learner.end_task = look  # type: ignore[method-assign]
    stream.run()
    assert len(kept) == 4
    assert torch.equal(kept[3]["logit_scale"], kept[0]["logit_scale"])
    assert not torch.equal(kept[3]["text_projection"], kept[2]["text_projection"])
