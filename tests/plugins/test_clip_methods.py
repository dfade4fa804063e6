"""Methods written for ViTs, unchanged on CLIP's image tower; SAFT on both towers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clsuite.backbones.class_texts import ClassTexts
from clsuite.backbones.clip import build_clip
from clsuite.backbones.spec import BackboneSpec, Weights
from clsuite.learner.learner import Learner
from clsuite.learner.options import OptimizerSpec, TrainingSpec
from clsuite.plugin import Plugin
from clsuite.scenarios import Scenario
from clsuite.stream.loop import Stream
from clsuite_plugins.aper import APER
from clsuite_plugins.block_expansion import BlockExpansion
from clsuite_plugins.cl_lora import CLLoRA
from clsuite_plugins.coda_prompt import CodaPrompt
from clsuite_plugins.dual_prompt import DualPrompt
from clsuite_plugins.ease import EASE
from clsuite_plugins.first_session import FirstSession
from clsuite_plugins.hft import HFT
from clsuite_plugins.hide import HiDe
from clsuite_plugins.inflora import InfLoRA
from clsuite_plugins.l2p import L2P
from clsuite_plugins.lae import LAE
from clsuite_plugins.mos import MOS
from clsuite_plugins.ncm import NCM
from clsuite_plugins.pet import Pet
from clsuite_plugins.s_pet import SPet
from clsuite_plugins.saft import SAFT
from clsuite_plugins.sd_lora import SDLoRA
from clsuite_plugins.sema import SEMA

MakeClip = Callable[..., Stream]


@pytest.fixture
def make_clip(scenario: Scenario) -> MakeClip:
    """Makes a stream of digits for a random clip_nano."""

    def make(*plugins: Plugin, checkpoint: Path | None = None, **training: Any) -> Stream:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        backbone = build_clip(BackboneSpec(name="open_clip:clip_nano"), Weights("random"))
        given = {"optimizer": OptimizerSpec(lr=1e-3), "batch_size": 8, "precision": "32", **training}
        learner = Learner(backbone, TrainingSpec(**given), plugins, seed=0)
        return Stream(learner, scenario, torch.device("cpu"), checkpoint_path=checkpoint, identity="test")

    return make


METHODS: dict[str, Callable[[], tuple[Plugin, ...]]] = {
    "lora": lambda: (Pet("lora", size=2),),
    "merged lora": lambda: (Pet("lora", size=2, after_task="merge"),),
    "adapter": lambda: (Pet("adapter", size=2),),
    "prefix": lambda: (Pet("prefix", size=2),),
    "prompt": lambda: (Pet("prompt", size=2),),
    "lae": lambda: (LAE(size=2, blocks="all", frozen_epochs=0),),
    "lae prefix": lambda: (LAE("prefix", size=2, blocks="all", frozen_epochs=0),),
    "s_prompts": lambda: (SPet(size=2, clusters=2),),
    "s_lora": lambda: (SPet("lora", size=2, clusters=2),),
    "l2p": lambda: (L2P(size=2, pool=4, top_k=2),),
    "dual_prompt": lambda: (DualPrompt(2, 2, "0", "1"),),
    "coda_prompt": lambda: (CodaPrompt(components=9, length=2, blocks="all"),),
    "hft": lambda: (HFT(),),
    "first session": lambda: (FirstSession(size=2), NCM()),
    "ia3": lambda: (Pet("ia3"),),
    "adaptformer": lambda: (Pet("adaptformer"),),
    "aper": lambda: (APER(size=2),),
    "ease": lambda: (EASE(size=2),),
    "l2l": lambda: (L2P("lora", size=2, pool=4, top_k=2, blocks="all"),),
    "inflora": lambda: (InfLoRA(rank=2),),
    "sd_lora": lambda: (SDLoRA(rank=2),),
    "cl_lora": lambda: (CLLoRA(rank=2),),
    "mos": lambda: (MOS(size=2, samples=16, align_epochs=2),),
    "sema": lambda: (SEMA(size=2, code=4, threshold=0.0, descriptor_epochs=2),),
    "hide": lambda: (HiDe(blocks="all", centroids=2, samples=16, epochs=2, task_samples=16, task_epochs=2),),
}
LINEAR = ("mos", "sema", "hide")
"""Those whose head has weights of its own."""


def assert_resumes_as(whole: Stream, make: Callable[..., Stream], folder: Path) -> None:
    """A run that is stopped before its last task and taken up again ends in the same bits."""
    cut = make(checkpoint=folder / "c.ckpt")
    learn = cut._learn

    def stop_at_the_second(task: Any) -> None:
        if task.index == 2:
            raise KeyboardInterrupt
        learn(task)

    cut._learn = stop_at_the_second  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    again = make(checkpoint=folder / "c.ckpt")
    again.run()
    np.testing.assert_array_equal(again.matrix.class_incremental, whole.matrix.class_incremental)
    theirs = whole.learner.state_dict()
    for key, value in again.learner.state_dict().items():
        assert torch.equal(value, theirs[key]), key


QUICK = {
    "linear": ("lora", "prefix", "prompt", "lae", "s_lora", "l2l", "coda_prompt", "hft", "first session"),
    "zero_shot": ("lora", "s_prompts"),
}
RUNS = [
    pytest.param(name, head, marks=() if name in QUICK[head] else pytest.mark.nightly)
    for head in QUICK
    for name in sorted(METHODS)
    if head == "linear" or name not in LINEAR
]


@pytest.mark.parametrize(("name", "head"), RUNS)
def test_methods_for_vits_run_and_resume_on_the_image_tower(
    name: str, head: str, make_clip: MakeClip, tmp_path: Path
) -> None:
    whole = make_clip(*METHODS[name](), head=head)
    clip = whole.learner.backbone.clip
    before = {key: value.detach().clone() for key, value in clip.named_parameters()}
    whole.run()
    moved = {key for key, value in clip.named_parameters() if not torch.equal(before[key], value)}
    assert all(key.startswith("visual.") for key in moved)
    assert bool(moved) == (name in ("merged lora", "hft", "inflora"))
    trained = [part for part in whole.learner.plugin_modules.parameters() if part.abs().sum() > 0]
    assert trained or name == "hft"

    assert_resumes_as(whole, lambda **more: make_clip(*METHODS[name](), head=head, **more), tmp_path)


@pytest.mark.slow
def test_lora_learns_digits_on_the_image_tower(make_clip: MakeClip) -> None:
    stream = make_clip(Pet("lora", size=8, targets="q+k+v+proj+fc1+fc2"), epochs=20, optimizer=OptimizerSpec(lr=3e-3))
    stream.run()
    assert stream.matrix.counts().of("task_aware").accuracy.diagonal().mean() > 0.8


def test_block_expansion_puts_copies_into_the_image_tower(make_clip: MakeClip) -> None:
    stream = make_clip(BlockExpansion(1))
    tower = stream.learner.backbone.model.transformer.resblocks
    old = {name: value.detach().clone() for name, value in tower.named_parameters()}
    stream.run()
    new = dict(stream.learner.backbone.model.transformer.resblocks.named_parameters())
    assert all(torch.equal(value, new[name]) for name, value in old.items())
    assert any(value.abs().sum() > 0 for name, value in new.items() if name not in old and "out_proj" in name)


@pytest.mark.slow
@pytest.mark.parametrize("rescore", ["once", "task"])
def test_saft_moves_exactly_the_chosen_share_of_both_towers(rescore: Any, make_clip: MakeClip) -> None:
    """Weight decay and momentum on, one threshold over all tensors of both towers; the logit scale rests."""
    plugin = SAFT(share=0.001, rescore=rescore)
    decaying = OptimizerSpec(name="adamw", lr=1e-3, weight_decay=0.1)
    stream = make_clip(plugin, head="zero_shot", tune="both", optimizer=decaying, epochs=2)
    clip = stream.learner.backbone.clip
    start = {key: value.detach().clone() for key, value in clip.named_parameters()}
    ends: list[dict[str, torch.Tensor]] = []
    scores: list[dict[str, torch.Tensor]] = []
    end, score = stream.learner.end_task, plugin._scores

    def look(task: Any) -> None:
        ends.append({key: value.detach() != start[key] for key, value in clip.named_parameters()})
        end(task)

    def keep(*arguments: Any) -> dict[str, torch.Tensor]:
        scores.append(score(*arguments))
        return scores[-1]

    stream.learner.end_task, plugin._scores = look, keep  # type: ignore[method-assign]
    stream.run()
    assert not any(end.pop("logit_scale").any() for end in ends)
    del start["logit_scale"]
    entries = sum(value.numel() for value in start.values())
    assert sum(int(moved.sum()) for moved in ends[0].values()) == round(0.001 * entries)
    threshold = torch.cat([value.flatten() for value in scores[0].values()]).topk(round(0.001 * entries)).values[-1]
    for key, moved in ends[0].items():
        assert torch.equal(moved, scores[0][f"clip.{key}"] >= threshold), key
    visual = sum(int(moved.sum()) for key, moved in ends[0].items() if key.startswith("visual."))
    assert 0 < visual < round(0.001 * entries)
    later = sum(int((ends[2][key] & ~moved).sum()) for key, moved in ends[0].items())
    assert (later > 0) == (rescore == "task")
    assert len(scores) == (3 if rescore == "task" else 1)
    with torch.no_grad():  # the answers are those of the weights as they are, not of texts that were kept from before
        rows = stream.scenario.tasks[0].test
        fresh = ClassTexts(stream.learner.backbone, stream.scenario.classes).logits(stream.learner.features_of(rows), 6)
    last = stream.matrix.class_incremental[-1][stream.matrix.task == 0]
    np.testing.assert_array_equal(last, fresh.argmax(dim=1).numpy())
    assert plugin.stored_bytes()["masks"] == sum(-(-value.numel() // 8) for value in start.values())


def test_saft_with_sgd_and_momentum_leaves_the_rest_alone(make_clip: MakeClip) -> None:
    sgd = OptimizerSpec(name="sgd", lr=1e-3, momentum=0.9, weight_decay=0.1)
    stream = make_clip(SAFT(share=0.01), head="zero_shot", tune="both", optimizer=sgd)
    start = {key: value.detach().clone() for key, value in stream.learner.backbone.named_parameters()}
    stream.run()
    moved = sum(int((value != start[key]).sum()) for key, value in stream.learner.backbone.named_parameters())
    assert 0 < moved <= round(0.01 * sum(value.numel() for value in start.values()))
    assert torch.equal(stream.learner.backbone.clip.logit_scale, start["clip.logit_scale"])


@pytest.mark.slow
def test_saft_resumes_bit_identically_on_both_towers(make_clip: MakeClip, tmp_path: Path) -> None:
    both: dict[str, Any] = {"head": "zero_shot", "tune": "both"}
    whole = make_clip(SAFT(share=0.01, rescore="task"), **both)
    whole.run()
    assert_resumes_as(whole, lambda **more: make_clip(SAFT(share=0.01, rescore="task"), **both, **more), tmp_path)


@pytest.mark.parametrize("tune", ["image", "text", "both"])
def test_hft_halves_every_tower_that_is_trained(tune: str, make_clip: MakeClip, scenario: Scenario) -> None:
    stream = make_clip(HFT(), head="zero_shot", tune=tune)
    learner = stream.learner
    learner.start(scenario)
    clip = learner.backbone.clip
    trained = {key for key, value in clip.named_parameters() if value.requires_grad}
    learner.begin_task(scenario.tasks[0])
    resting = {key for key, value in clip.named_parameters() if key in trained and not value.requires_grad}
    for prefix, is_trained in (("visual.", tune != "text"), ("transformer.", tune != "image")):
        matrices = [key for key in clip.state_dict() if key.startswith(prefix) and key.endswith(MATRICES)]
        assert len(matrices) % 6 == 0, matrices
        assert matrices
        assert sum(key in resting for key in matrices) == (len(matrices) // 2 if is_trained else 0)
    learner.end_task(scenario.tasks[0])
    assert {key for key, value in clip.named_parameters() if value.requires_grad} == trained


MATRICES = ("in_proj_weight", "out_proj.weight", "c_fc.weight", "c_proj.weight", "ln_1.weight", "ln_2.weight")


@pytest.mark.parametrize(("tune", "tower"), [("image", True), ("text", False)])
def test_saft_chooses_among_the_towers_that_are_trained(tune: str, tower: bool, make_clip: MakeClip) -> None:
    stream = make_clip(SAFT(share=0.01), head="zero_shot", tune=tune)
    clip = stream.learner.backbone.clip
    start = {key: value.detach().clone() for key, value in clip.named_parameters()}
    tuned = [value for value in clip.parameters() if value.requires_grad]
    stream.run()
    moved = {key: int((value != start[key]).sum()) for key, value in clip.named_parameters()}
    assert all(key.startswith("visual.") == tower for key, number in moved.items() if number)
    assert sum(moved.values()) == round(0.01 * sum(value.numel() for value in tuned))
