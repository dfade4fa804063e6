"""VPT-NSP2: what images see of prompts, projections by hand, old features in a full null space, and plain prompts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interruptions import bits, interrupted
from torch import Tensor, nn

from clsuite.errors import UserError
from clsuite.learner.learner import Learner, Step
from clsuite.learner.options import OptimizerSpec
from clsuite.peft import Prompt, prompt_moments
from clsuite.plugin import Plugin
from clsuite.scenarios import Scenario, Task
from clsuite_plugins.pet import Pet
from clsuite_plugins.vpt_nsp2 import VPTNSP2

ADAM: dict[str, Any] = {"loss": "local", "optimizer": OptimizerSpec(name="adam", lr=0.01, weight_decay=0.0)}
EXACT: dict[str, Any] = {"eta": 1.0, "normalize": False, "threshold": 1e-6, "norm_loss": 0.0, "temperature": 1.0}


def test_moments_are_of_scores_and_weights(make_stream: Any, scenario: Scenario) -> None:
    """Of one image, the keys' matrix gives back the scores of the prompts, whose softmax has the weights."""
    method = VPTNSP2(length=3)
    learner: Learner = make_stream(method).learner
    learner.start(scenario)
    block, seen = learner.backbone.model.blocks[1], list[Tensor]()
    handle = block.norm1.register_forward_hook(lambda module, inputs, output: seen.append(output[0]))
    with torch.no_grad(), prompt_moments(learner.backbone.model, [1], 3) as sums:
        learner.features_of(scenario.tasks[0].train[:1])
    handle.remove()
    tokens, attention = seen[0], block.attn
    with torch.no_grad():
        queries, keys, _ = attention.qkv(tokens).view(19, 3, 3, 64).permute(1, 2, 0, 3)
    images = torch.cat([queries[:, :1], queries[:, 4:]], dim=1)
    shares = (images @ keys.mT * attention.scale).softmax(-1)[..., 1:4].flatten(0, 1).double()
    torch.testing.assert_close(sums[0].shares, shares.T @ shares, rtol=1e-4, atol=1e-6)
    assert sums[0].number == 3 * 16
    weight, bias = attention.qkv.weight.chunk(3)[1], attention.qkv.bias.chunk(3)[1]
    scores = images @ (keys[:, 1:4] - bias.view(3, 1, 64)).mT
    seen_by_head = torch.stack([images[head] @ weight.view(3, 64, 192)[head] for head in range(3)])
    torch.testing.assert_close(seen_by_head @ tokens[1:4].T, scores, rtol=1e-3, atol=1e-3)
    affinity = seen_by_head.flatten(0, 1).double()
    torch.testing.assert_close(sums[0].affinity, affinity.T @ affinity, rtol=1e-3, atol=1e-3)


def test_projections_are_those_of_the_paper_or_of_the_code() -> None:
    """The second moment has the directions 0 and 1, and the others are free."""
    moment = torch.tensor([9.0, 4.0, 0.0, 0.0]).diag()
    exact = VPTNSP2(**EXACT)._projection(moment)
    torch.testing.assert_close(exact, torch.tensor([0.0, 0.0, 1.0, 1.0]).diag())
    code = VPTNSP2(eta=0.9, threshold=1e-5)._projection(moment)
    torch.testing.assert_close(code, torch.tensor([0.1, 0.1, 0.9 / 2**0.5 + 0.1, 0.9 / 2**0.5 + 0.1]).diag())
    wide = VPTNSP2(threshold=1e-5)._projection(torch.tensor([1.0] * 168 + [0.0] * 600).diag())
    assert float(wide[-1, -1]) == pytest.approx(0.0696, abs=1e-4)  # the code's factors with 600 free directions
    assert float(wide[0, 0]) == pytest.approx(0.03, abs=1e-6)


class Ties(Plugin):
    """Makes attentions that have a null space: keys of rank 20, no norms, and two pairs of prompts that score alike."""

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        generator = torch.Generator().manual_seed(0)
        self.unseen: list[Tensor] = []
        for block in learner.backbone.model.blocks:
            keys = block.attn.qkv.weight.data[192:384]
            left, values, right = torch.linalg.svd(keys)
            keys.copy_(left[:, :20] * values[:20] @ right[:20])
            block.norm1 = nn.Identity()
            self.unseen.append(torch.randn(2, 172, generator=generator) @ right[20:])

    def on_task_end(self, learner: Learner, task: Task) -> None:
        (prompts,) = (module for module in learner.plugin_modules.modules() if isinstance(module, Prompt))
        if task.index == 0:
            for tokens, unseen in zip(prompts.tokens.data, self.unseen, strict=True):
                tokens[2:] = tokens[:2] + unseen


class Features(Plugin):
    """Keeps the features of the first task's images, and prompts, after each task."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []
        self.prompts: list[Tensor] = []

    def on_task_end(self, learner: Learner, task: Task) -> None:
        self.seen.append(learner.features_of(learner.scenario.tasks[0].train))
        self.prompts.append(learner.parameters_of("prompts")["plugin_modules.VPTNSP2_prompts.tokens"].detach().clone())


@pytest.mark.slow
def test_features_of_earlier_images_stay_in_a_full_null_space(make_stream: Any, scenario: Scenario) -> None:
    changes = []
    for eta in (1.0, 0.0):
        method, features = VPTNSP2(**{**EXACT, "eta": eta}), Features()
        make_stream(Ties(), method, features, on=scenario.first(2), epochs=2, **ADAM).run()
        assert float((features.prompts[1] - features.prompts[0]).abs().max()) > 1e-3
        changes.append(float((features.seen[1] - features.seen[0]).abs().max() / features.seen[0].abs().max()))
    assert changes[0] < 1e-4 < 1e-2 < changes[1], changes


@pytest.mark.slow
def test_without_projections_it_is_plain_prompts_to_the_bit(make_stream: Any, scenario: Scenario) -> None:
    method = VPTNSP2(eta=0.0, norm_loss=0.0, temperature=1.0)

    class Plain(Pet):
        def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
            super().on_stream_start(learner, scenario)
            with torch.no_grad():
                self.modules[0].tokens.copy_(start)  # type: ignore[operator, union-attr]

    streams = [make_stream(method, on=scenario.first(2), **ADAM)]
    streams[0].learner.start(scenario.first(2))
    start = method.prompts.tokens.detach().clone()
    method.prompts.detach_from_model()
    streams = [make_stream(one, on=scenario.first(2), **ADAM) for one in (method, Plain(kind="prompt", size=4))]
    for stream in streams:
        stream.run()
    ours, plain = ([*stream.learner.state_dict().values()] for stream in streams)
    assert all(torch.equal(one, other) for one, other in zip(ours, plain, strict=True))
    assert bits(streams[0])[0] == bits(streams[1])[0]


def test_statistics_are_means_over_all_tasks_and_counted(make_stream: Any, scenario: Scenario) -> None:
    method, sums = VPTNSP2(), list[tuple[Tensor, int]]()

    class Sums(Plugin):
        def on_task_end(self, learner: Learner, task: Task) -> None:
            with torch.no_grad(), prompt_moments(learner.backbone.model, [0], 4) as found:
                learner.features_of(task.train)
            sums.append((found[0].shares, found[0].number))

    make_stream(method, Sums(), on=scenario.first(2), **ADAM).run()
    expected = (sums[0][0] + sums[1][0]) / (sums[0][1] + sums[1][1])
    torch.testing.assert_close(method._shares[0].double(), expected, rtol=1e-4, atol=1e-6)
    moments = 4 * 2 * (192**2 + 4**2)
    assert method.stored_bytes() == {"modules": 4 * 2 * 4 * 192, "statistics": moments + 4 * 2 * 4 * 192}


def test_means_and_deviations_are_held(make_stream: Any, scenario: Scenario) -> None:
    method = VPTNSP2(norm_loss=2.0)
    learner: Learner = make_stream(method).learner
    learner.start(scenario)
    step = Step(batch=None, features=torch.zeros(0), logits=torch.zeros(0))  # type: ignore[arg-type]
    assert method.loss(learner, step) is None
    method._before = method.prompts.tokens.detach().clone()
    with torch.no_grad():
        method.prompts.tokens[0, 1].mul_(3.0)
    before = method._before[0, 1]
    moved = (2 * before.mean()).abs() + 2 * before.std(unbiased=False)
    found = method.loss(learner, step)
    assert found is not None
    torch.testing.assert_close(found.detach(), 2.0 * moved / 4)  # a mean over four prompts, a sum over blocks


def test_prompts_leave_each_block_also_where_the_next_one_has_none(make_stream: Any, scenario: Scenario) -> None:
    learner: Learner = make_stream(VPTNSP2(length=3, blocks="0")).learner
    learner.start(scenario)
    tokens: list[int] = []
    for block in learner.backbone.model.blocks:
        block.mlp.register_forward_hook(lambda mlp, inputs, output: tokens.append(output.shape[1]))
    learner.features_of(scenario.tasks[0].train[:1])
    assert tokens == [19, 16]


def test_classes_that_come_back_are_trained_again(make_stream: Any, scenario: Scenario) -> None:
    first, second = scenario.tasks[:2]
    mixed = replace(second, classes=(*first.classes, *second.classes), train=np.append(first.train[:4], second.train))
    tasks = (first, mixed, replace(first, index=2))
    trained: list[list[bool]] = []

    class Look(Plugin):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            groups = pl_module.head.groups
            trained.append([group.weight.requires_grad for group in groups])

    stream = Scenario(scenario.kind, scenario.table, scenario.labels, scenario.classes, tasks)
    make_stream(VPTNSP2(), Look(), on=stream, **ADAM).run()
    assert trained == [[True], [True, True], [True, False]]


@pytest.mark.slow
def test_interrupted_and_resumed_it_ends_in_the_same_bits(make_stream: Any, scenario: Scenario, tmp_path: Path) -> None:
    given = {"on": scenario.first(2), **ADAM}
    alone = make_stream(VPTNSP2(), **given)
    alone.run()
    again = interrupted(make_stream, tmp_path / "x.ckpt", 1, alone.tasks[1].steps - 1, lambda: [VPTNSP2()], **given)
    assert bits(again) == bits(alone)


@pytest.mark.parametrize("given", [{"length": 0}, {"eta": 1.5}, {"threshold": 1.0}, {"temperature": 0.0}])
def test_bad_arguments_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"vpt_nsp2: {next(iter(given))} is"):
        VPTNSP2(**given)
