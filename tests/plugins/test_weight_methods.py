"""SAFT, block expansion, WiSE-FT and momentum interpolation do what their papers say."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.options import OptimizerSpec
from clsuite.plugin import Plugin
from clsuite_plugins.block_expansion import BlockExpansion, identity_copy
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.hft import HFT
from clsuite_plugins.linear_probe import LinearProbe
from clsuite_plugins.momentum import Momentum
from clsuite_plugins.saft import SAFT, top_share
from clsuite_plugins.wise_ft import WiSEFT


def body(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in learner.backbone.named_parameters()}


@pytest.mark.slow
@pytest.mark.parametrize("rescore", ["once", "task"])
def test_saft_moves_exactly_the_chosen_share(rescore: Any, make_stream: Any, scenario: Any) -> None:
    plugin = SAFT(share=0.01, rescore=rescore, head_epochs=1)
    decaying = OptimizerSpec(lr=1e-3, weight_decay=0.1)
    stream = make_stream(plugin, optimizer=decaying)
    start = body(stream.learner)
    moved: list[dict[str, torch.Tensor]] = []
    end = stream.learner.end_task
    stream.learner.end_task = lambda task: (moved.append(body(stream.learner)), end(task))
    stream.run()
    count = sum(value.numel() for value in start.values())
    changed = sum(int((moved[0][name] != start[name]).sum()) for name in start)
    assert changed == round(0.01 * count)
    later = {name: moved[2][name] != start[name] for name in start}
    outside = sum(int((later[name] & (moved[0][name] == start[name])).sum()) for name in start)
    assert (outside > 0) == (rescore == "task")
    plain = make_stream(Finetune())
    plain.run()
    more = [one.gradient_samples - two.gradient_samples for one, two in zip(stream.tasks, plain.tasks, strict=True)]
    # the passes that warm the head up and those that score weights count too
    once = [len(task.train) for task in scenario.tasks]
    assert more == [2 * number if rescore == "task" or not index else number for index, number in enumerate(once)]


def test_saft_takes_one_threshold_over_all_tensors() -> None:
    scores = {"a": torch.tensor([[5.0, 1.0], [4.0, 0.0]]), "b": torch.tensor([3.0, 2.0])}
    masks = top_share(scores, 0.5)
    assert masks["a"].tolist() == [[True, False], [True, False]]
    assert masks["b"].tolist() == [True, False]


def test_saft_scores_by_the_mean_gradient(make_stream: Any, scenario: Any) -> None:
    plugin = SAFT()
    stream = make_stream(plugin, batch_size=5)
    learner = stream.learner
    learner.start(scenario)
    learner.begin_task(scenario.tasks[0])
    scores = plugin._scores(learner, scenario.tasks[0])
    learner.eval()
    rows = scenario.tasks[0].train
    logits = learner.head(learner.backbone(learner.backbone.normalize(learner.images_of(rows))))
    torch.nn.functional.cross_entropy(logits, learner.labels_of(rows), reduction="sum").backward()
    for name, value in learner.backbone.named_parameters():
        torch.testing.assert_close(scores[name], value.grad.abs(), rtol=1e-3, atol=1e-4)


def test_saft_scores_by_the_loss_that_trains(make_stream: Any, scenario: Any) -> None:
    """In a later task of a local loss only the task's classes compete, when weights are scored too."""
    plugin = SAFT(rescore="task", head_epochs=1)
    stream = make_stream(plugin, loss="local")
    learner = stream.learner
    learner.start(scenario)
    for task in scenario.tasks[:2]:
        learner.begin_task(task)
    scores = plugin._scores(learner, scenario.tasks[1])
    learner.eval()
    rows = scenario.tasks[1].train
    logits = learner.head(learner.backbone(learner.backbone.normalize(learner.images_of(rows))))
    local = logits[:, list(scenario.tasks[1].classes)]
    torch.nn.functional.cross_entropy(local, learner.labels_of(rows) - 2, reduction="sum").backward()
    for name, value in learner.backbone.named_parameters():
        torch.testing.assert_close(scores[name], value.grad.abs(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("blocks", [1, 2])
def test_block_expansion_computes_the_same_bit_for_bit(blocks: int, make_stream: Any, scenario: Any) -> None:
    stream = make_stream(BlockExpansion(blocks))
    images = stream.learner.backbone.normalize(torch.from_numpy(scenario.table.images[:16]))
    stream.learner.eval()
    with torch.no_grad():
        before = stream.learner.backbone(images)
        stream.learner.start(scenario)
        after = stream.learner.backbone(images)
    assert torch.equal(before, after)
    assert len(stream.learner.backbone.model.blocks) == 2 + blocks


def test_block_expansion_trains_the_copies_and_the_head_alone(make_stream: Any) -> None:
    stream = make_stream(BlockExpansion(1))
    old = body(stream.learner)
    stream.run()
    new = body(stream.learner)
    for name, value in old.items():  # the copy of the last of two blocks stands behind it
        assert torch.equal(value, new[name]), name
    assert any(float(value.abs().sum()) for name, value in new.items() if "blocks.2.attn.proj" in name)


def test_block_expansion_has_the_papers_parameter_counts() -> None:
    """Table 1 of the paper, ViT-B/16 on CIFAR-100: 7.2, 14.3, 21.3 and 28.4 million with the head."""
    with torch.device("meta"):
        block = timm.create_model("vit_base_patch16_224").blocks[0]
    each, head = sum(value.numel() for value in block.parameters()), 768 * 100 + 100
    assert [round((p * each + head) / 1e6, 1) for p in (1, 2, 3, 4)] == [7.2, 14.3, 21.3, 28.4]


def test_an_identity_copy_is_trainable_and_the_original_untouched() -> None:
    block = timm.create_model("vit_tiny_patch16_224", depth=1).blocks[0].requires_grad_(False)
    weight = block.attn.proj.weight.clone()
    copy = identity_copy(block)
    assert all(value.requires_grad for value in copy.parameters())
    assert torch.equal(block.attn.proj.weight, weight)
    assert not copy.attn.proj.weight.any()
    assert not copy.mlp.fc2.bias.any()


def test_blocks_that_do_not_divide_are_refused(make_stream: Any) -> None:
    with pytest.raises(UserError, match="blocks is 3, but must divide the backbone's 2 blocks"):
        make_stream(BlockExpansion(3)).run()


@pytest.mark.slow
@pytest.mark.parametrize("anchor", ["previous", "pretrained"])
def test_wise_ft_at_its_ends(anchor: Any, make_stream: Any) -> None:
    plain, whole, none = (make_stream(p) for p in (Finetune(), WiSEFT(1.0, anchor), WiSEFT(0.0, anchor)))
    start = body(none.learner)
    for stream in (plain, whole, none):
        stream.run()
    assert plain.matrix.counts() == whole.matrix.counts()
    assert all(torch.equal(value, start[name]) for name, value in body(none.learner).items())


def test_wise_ft_is_the_mean_of_before_and_after(make_stream: Any) -> None:
    trained: list[dict[str, torch.Tensor]] = []

    class Before(Plugin):
        def on_task_end(self, learner: Learner, task: Any) -> None:
            trained.append(body(learner))

    stream = make_stream(Before(), WiSEFT(0.25))
    start = body(stream.learner)
    stream.scenario = stream.scenario.first(1)
    stream.run()
    for name, value in body(stream.learner).items():
        torch.testing.assert_close(value, 0.75 * start[name] + 0.25 * trained[0][name])


def test_wise_ft_is_refused_where_the_backbone_is_frozen(make_stream: Any) -> None:
    with pytest.raises(UserError, match="wise_ft: the backbone is frozen"):
        make_stream(WiSEFT(), LinearProbe()).run()


def test_momentum_goes_on_following_what_rests_in_a_task(make_stream: Any) -> None:
    kept: list[set[str]] = []

    class Names(Plugin):
        def on_task_end(self, learner: Learner, task: Any) -> None:
            kept.append(set(momentum.state_dict()["_slow"]))

    momentum = Momentum(tau=0.5)
    make_stream(HFT(), momentum, Names()).run()
    assert kept[0] <= kept[1] <= kept[2]
    halves = [{name for name in names if ".blocks." in name} for names in kept]
    assert halves[0] < halves[2]


@pytest.mark.slow
def test_momentum_without_decay_is_fine_tuning(make_stream: Any) -> None:
    plain, fast = make_stream(Finetune()), make_stream(Momentum(tau=0.0))
    plain.run()
    fast.run()
    assert plain.matrix.counts() == fast.matrix.counts()


@pytest.mark.slow
def test_momentum_follows_the_equation_and_does_not_disturb_training(make_stream: Any) -> None:
    name, steps, fast_ends = "model.blocks.0.mlp.fc1.bias", [], []

    class Steps(Plugin):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
            steps.append(body(pl_module)[name])

        def on_task_end(self, learner: Learner, task: Any) -> None:
            fast_ends.append(body(learner))

    stream = make_stream(Steps(), Momentum(tau=0.8))
    slow = body(stream.learner)[name]
    stream.run()
    for fast in steps:
        slow = 0.8 * slow + 0.2 * fast
    torch.testing.assert_close(body(stream.learner)[name], slow)
    plain_ends: list[dict[str, torch.Tensor]] = []

    class Ends(Plugin):
        def on_task_end(self, learner: Learner, task: Any) -> None:
            plain_ends.append(body(learner))

    make_stream(Ends()).run()
    assert all(torch.equal(value, fast_ends[-1][key]) for key, value in plain_ends[-1].items())


class AfterEachStep(Plugin):
    """Puts a weight right after each step, and warms another up before the first: as SAFT, k-FPF and LwF do."""

    def on_task_start(self, learner: Learner, task: Any) -> None:
        with torch.no_grad():
            learner.head.newest_parameters()[0].add_(0.1)

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        pl_module.backbone.model.blocks[0].mlp.fc1.bias.mul_(0.5)


def whole(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in learner.named_parameters()}


@pytest.mark.slow
@pytest.mark.parametrize("other", [AfterEachStep, lambda: SAFT(share=0.01, head_epochs=1)], ids=["any", "saft"])
def test_the_slow_copy_does_not_depend_on_the_order_of_plugins(other: Any, make_stream: Any, scenario: Any) -> None:
    decaying = OptimizerSpec(lr=1e-3, weight_decay=0.1)
    ends = []
    for order in (1, -1):
        stream = make_stream(*(Momentum(tau=0.8), other())[::order], optimizer=decaying)
        start = body(stream.learner)
        stream.run()
        ends.append(whole(stream.learner))
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), name
    if other is not AfterEachStep:
        moved = sum(int((value != start[name.removeprefix("backbone.")]).sum()) for name, value in ends[0].items()
                    if name.startswith("backbone."))  # fmt: skip
        assert 0 < moved <= round(0.01 * sum(value.numel() for value in start.values()))
