"""SD-LoRA: directions that are fixed, magnitudes that are trained, and what happens between two tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from clsuite.backbones.vit import Backbone
from clsuite.data.batch import gather
from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.options import OptimizerSpec, TrainingSpec
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import find_plugin
from clsuite.plugin.compatibility import check_method
from clsuite.scenarios import Scenario, Task
from clsuite_plugins.sd_lora import SDLoRA, ranks_by_task

SGD = {"loss": "local", "epochs": 2, "optimizer": OptimizerSpec(name="sgd", lr=0.01, head_lr=0.03)}


class Look(Plugin):
    """Keeps magnitudes, pairs and answers at the bounds of tasks; stands behind the method."""

    def __init__(self, method: SDLoRA) -> None:
        super().__init__()
        self.method = method
        self.begun: list[list[float]] = []
        self.ended: list[list[float]] = []
        self.pairs: list[dict[str, Tensor]] = []
        self.jumps: list[float] = []

    def before_task_training(self, learner: Learner, task: Task) -> None:
        self.answers = self.answer(learner)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        self.jumps.append(float((self.answer(learner) - self.answers).abs().max()))
        self.begun.append([value.item() for value in self.method.module.magnitudes])
        self.pairs.append({name: value.detach().clone() for name, value in self.method.module.named_parameters()})

    def on_task_end(self, learner: Learner, task: Task) -> None:
        self.ended.append([value.item() for value in self.method.module.magnitudes])
        now = dict(self.method.module.named_parameters())
        for name, value in self.pairs[-1].items():
            newest = name.endswith(f".{len(self.begun[-1]) - 1}") or "magnitudes" in name
            assert torch.equal(value, now[name]) != newest, name

    def answer(self, learner: Learner) -> Tensor:
        batch = gather(learner.scenario.table, learner.scenario.labels, learner.scenario.tasks[0].test[:16])
        assert batch.images is not None
        with torch.no_grad():
            answer: Tensor = learner.eval().backbone(learner.backbone.normalize(batch.images))
        return answer


@pytest.mark.slow
def test_the_codes_magnitudes_begin_anew_with_each_task(make_stream: Any) -> None:
    method = SDLoRA(rank=3)
    look = Look(method)
    make_stream(method, look, **SGD).run()
    assert look.begun == [pytest.approx([0.8] * number) for number in (1, 2, 3)]
    assert all(value != pytest.approx(0.8, abs=1e-7) for value in look.ended[2])
    assert look.jumps[0] == 0  # the first task begins with the pre-trained network
    assert min(look.jumps[1:]) > 1e-3


def test_carried_magnitudes_leave_all_answers_as_they_are(make_stream: Any) -> None:
    method = SDLoRA(rank=3, boundary="carry")
    look = Look(method)
    make_stream(method, look, **SGD).run()
    assert max(look.jumps) < 1e-4
    assert look.begun[2][0] == pytest.approx(look.ended[1][0])
    assert look.begun[2][2] == pytest.approx(0.8)


def test_later_tasks_may_have_smaller_ranks(make_stream: Any) -> None:
    method = SDLoRA(rank=4, later_ranks="1:3, 2:1")
    make_stream(method, **SGD).run()
    assert [len(down) for down in method.module.directions[0].downs] == [4, 3, 1]


@pytest.mark.slow
def test_a_direction_that_others_can_stand_for_is_dropped_and_stays_so_over_an_interruption(
    make_stream: Any, tmp_path: Path
) -> None:
    """Everything counts as a sum of the first direction: only that one stays."""

    def make(checkpoint: Path | None = None) -> Any:
        return make_stream(SDLoRA(rank=3, boundary="carry", drop_below=1.0), checkpoint=checkpoint, **SGD)

    whole = make()
    whole.run()
    assert len(whole.learner.plugins[0].module.magnitudes) == 1
    cut = make(tmp_path / "c.ckpt")
    learn = cut._learn

    def stop(task: Task) -> None:
        if task.index == 2:
            raise KeyboardInterrupt
        learn(task)

    cut._learn = stop
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    again = make(tmp_path / "c.ckpt")
    again.run()
    theirs = whole.learner.state_dict()
    assert {*theirs} == {*again.learner.state_dict()}
    assert all(torch.equal(value, theirs[name]) for name, value in again.learner.state_dict().items())


def test_other_directions_are_kept(make_stream: Any) -> None:
    method = SDLoRA(rank=3, boundary="carry", drop_below=9e-4)
    make_stream(method, **SGD).run()
    assert len(method.module.magnitudes) == 3


def test_the_head_of_old_classes_does_not_move(make_stream: Any) -> None:
    method, kept = SDLoRA(rank=3), list[Tensor]()

    class Head(Plugin):
        def on_task_end(self, learner: Learner, task: Task) -> None:
            kept.append(learner.head.group_parameters(0)[0].detach().clone())

    make_stream(method, Head(), **SGD).run()
    assert torch.equal(kept[0], kept[2])


def test_it_trains_as_many_parameters_as_the_authors(scenario: Scenario) -> None:
    """ViT-B/16: their log says 368,661, which is this and magnitudes of 20 tasks and one more."""
    with torch.device("meta"):
        model = timm.create_model("vit_base_patch16_224", num_classes=0)
    method = SDLoRA()
    learner = Learner(Backbone(model, (0.5,) * 3, (0.5,) * 3), TrainingSpec(), [method], 0)
    learner.start(scenario)
    method.module.add(10, 0.8, torch.Generator())
    assert sum(value.numel() for value in learner.parameters() if value.requires_grad) == 368_640 + 1
    assert 368_640 + 21 == 368_661


def test_ranks_are_read() -> None:
    assert ranks_by_task("4:8, 8:6") == {4: 8, 8: 6}
    assert ranks_by_task("") == {}
    for text in ("4", "4:", "0:3", "a:3", "4:0"):
        with pytest.raises(UserError, match=f"sd_lora: later_ranks '{text}' cannot be read"):
            ranks_by_task(text)
    with pytest.raises(UserError, match="sd_lora: later_ranks '4:8, 4:6' gives task 4 two ranks"):
        SDLoRA(later_ranks="4:8, 4:6")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"rank": 0}, "rank is 0"),
        ({"magnitude": 0.0}, r"magnitude is 0\.0"),
        ({"drop_below": 0.1}, "which boundary: reset forgets: write boundary: carry"),
        ({"drop_below": 2.0, "boundary": "carry"}, r"drop_below is 2\.0"),
    ],
)
def test_bad_arguments_are_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=f"sd_lora: .*{reason}"):
        SDLoRA(**given)


def test_a_rank_that_does_not_fit_and_a_network_without_blocks_are_refused(
    make_stream: Any, scenario: Scenario
) -> None:
    with pytest.raises(UserError, match="rank is 193, but must be between 1 and 192, the width"):
        make_stream(SDLoRA(rank=193)).run()
    later = make_stream(SDLoRA(rank=2, later_ranks="2:193"))
    with pytest.raises(UserError, match="rank is 193, but must be between 1 and 192, the width"):
        later.learner.start(scenario)  # and not at the third task
    model = timm.create_model("resnet10t", num_classes=0)
    learner = Learner(Backbone(model, (0.5,) * 3, (0.5,) * 3), TrainingSpec(), [SDLoRA()], 0)
    with pytest.raises(UserError, match="it needs a ViT"):
        learner.start(scenario)


def test_statistics_are_taken_after_a_direction_may_have_been_dropped() -> None:
    plugins = [(name, find_plugin(name)[1]) for name in ("classifier_alignment", "sd_lora")]
    with pytest.raises(UserError, match=r"write \[sd_lora, classifier_alignment\]"):
        check_method(plugins, "class_incremental")
    check_method(plugins[::-1], "class_incremental")
