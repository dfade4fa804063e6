"""SEMA: blocks that grow where a task's images are new, what is trained when, and the mixture of adapters."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from clip_streams import ZERO_SHOT, clip_stream

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.options import OptimizerSpec
from clsuite.peft import AdapterMixture
from clsuite.peft.mixture import Descriptor
from clsuite.plugin import Plugin, Scenario, Step, Task
from clsuite.plugin.catalog import find_plugin
from clsuite.plugin.compatibility import check_method
from clsuite_plugins.sema import SEMA

TRAINING = {"loss": "local", "optimizer": OptimizerSpec(name="sgd", lr=0.05, head_lr=0.03)}
SMALL = {"size": 4, "code": 8, "descriptor_epochs": 3}
NEVER = 1e9


class Watched(SEMA):
    """Keeps all adapters at the start of each task's training and at its end."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**{**SMALL, **given})
        self.starts: list[dict[str, torch.Tensor]] = []
        self.ends: list[dict[str, torch.Tensor]] = []
        self.trained: list[set[str]] = []

    def on_task_start(self, learner: Learner, task: Task) -> None:
        self.starts.append(copy.deepcopy(self.adapters.state_dict()))
        self.trained.append({name for name, value in learner.named_parameters() if value.requires_grad})

    def on_task_end(self, learner: Learner, task: Task) -> None:
        super().on_task_end(learner, task)
        self.ends.append(copy.deepcopy(self.adapters.state_dict()))


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_where_nothing_is_new_only_the_head_is_trained(make_stream: Any) -> None:
    plugin = Watched(threshold=NEVER)
    stream = make_stream(plugin, **TRAINING)
    stream.run()
    assert plugin._experts == {"1": 1}
    assert all(same(plugin.ends[0], now) for now in (*plugin.starts[1:], *plugin.ends[1:]))
    assert all(name.startswith("head.") for names in plugin.trained[1:] for name in names)
    assert any("descriptor" not in name and "adapters" in name for name in plugin.trained[0])
    assert [task.gradient_samples for task in stream.tasks[1:]] == [
        len(task.train) for task in stream.scenario.tasks[1:]
    ]


@pytest.mark.slow
def test_where_all_is_new_each_block_grows_once_a_task_and_nothing_older_moves(make_stream: Any) -> None:
    plugin = Watched(threshold=0.0, expandable="0-1")
    stream = make_stream(plugin, **TRAINING)
    stream.run()
    assert plugin._experts == {"0": 3, "1": 3}
    for before, after in ((plugin.ends[0], plugin.ends[1]), (plugin.ends[1], plugin.ends[2])):
        assert same(before, after)
        assert len(after) > len(before)
    for number in "01":  # what was added has been trained: adapter, router, and what the descriptor remembers
        parts = {name: value for name, value in plugin.ends[2].items() if name.startswith(f"parts.{number}.experts.2.")}
        assert parts[f"parts.{number}.experts.2.adapter.up.weight"].abs().max() > 0
        assert parts[f"parts.{number}.experts.2.descriptor.mean"] > 0
    assert same(plugin.starts[2], plugin.ends[2])
    assert not any(value.requires_grad for value in plugin.adapters.parameters())
    train = [len(task.train) for task in stream.scenario.tasks]
    once = 1 + 3  # an epoch of the adapter and three of the descriptor, for each of two blocks; then the head
    expected = [4 * train[0], *((2 * once + 1) * one for one in train[1:])]
    assert [task.gradient_samples for task in stream.tasks] == expected


@pytest.mark.slow
def test_a_task_that_comes_again_is_not_new(make_stream: Any, scenario: Scenario) -> None:
    """Other classes are further off in deviations than the same images, so that one threshold parts them."""
    scores = {}
    for name, second in {"same": scenario.tasks[0], "other": scenario.tasks[1]}.items():
        plugin = Watched(threshold=NEVER, code=32, descriptor_epochs=40, descriptor_lr=0.3, records=100)
        stream = make_stream(plugin, **TRAINING, on=scenario.first(1))
        stream.run()
        learner = stream.learner.eval()
        with torch.no_grad():
            learner.backbone(learner.backbone.normalize(learner.images_of(second.train)))
        scores[name] = plugin.adapters.mixtures[1].surprise()
    assert scores["same"] < 1.5 < scores["other"], scores


def test_a_stream_starts_with_the_pre_trained_network(make_stream: Any, scenario: Scenario) -> None:
    stream = make_stream(SEMA(**SMALL, expandable="0-1"))
    learner, rows = stream.learner.eval(), scenario.tasks[0].train
    images = learner.backbone.normalize(torch.from_numpy(scenario.table.images[rows]))
    with torch.no_grad():
        before = learner.backbone(images)
        learner.start(scenario)
        assert torch.equal(learner.backbone(images), before)


def small_mixture(experts: int = 3) -> AdapterMixture:
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, num_classes=0)
    generator = torch.Generator().manual_seed(0)
    adapters = AdapterMixture(model, [0], 4, 8, 1.0, generator)
    for _ in range(experts):
        adapters.add(0, generator)
    with torch.no_grad():
        for value in adapters.parameters():
            value.normal_(0.0, 0.2, generator=generator)
    return adapters


def test_descriptors_see_whole_batches_where_the_training_takes_them_apart(
    make_stream: Any, scenario: Scenario
) -> None:
    """Otherwise each would know the last part of each batch alone, and a look would judge by it."""
    found = []
    for parts in (1, 4):
        plugin = SEMA(**SMALL, threshold=NEVER)
        make_stream(plugin, **TRAINING, accumulate=parts, on=scenario.first(1)).run()
        mixture = plugin.adapters.mixtures[1]
        found.append(torch.stack([mixture.newest.descriptor.mean, mixture.newest.descriptor.deviation]))
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-5)


class Asked(Plugin):
    """Counts how often the classification loss of a step is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def classification(self, learner: Learner, step: Step) -> None:
        self.steps += 1


def test_added_adapters_learn_by_the_classification_loss_of_the_method(make_stream: Any, scenario: Scenario) -> None:
    asked = Asked()
    make_stream(SEMA(**SMALL, threshold=0.0), asked, **TRAINING, on=scenario.first(2)).run()
    first, second = (-(-len(task.train) // 8) for task in scenario.tasks[:2])
    assert asked.steps == first + 2 * second  # the added adapter's epoch, and the head's


def test_routers_share_out_one() -> None:
    mixture, tokens = small_mixture().mixtures[0], torch.randn(5, 7, 192, generator=torch.Generator().manual_seed(1))
    weights = mixture.weights(tokens.mean(dim=1))
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(5))
    mixed = sum(weights[:, k, None, None] * expert.adapter(tokens) for k, expert in enumerate(mixture.experts))
    torch.testing.assert_close(mixture(tokens), mixed)
    assert torch.equal(mixture.features, tokens.mean(dim=1))
    alone = small_mixture(1).mixtures[0]
    torch.testing.assert_close(alone(tokens), alone.experts[0].adapter(tokens))


def test_a_surprise_is_counted_in_deviations() -> None:
    descriptor = Descriptor(6, 2, torch.Generator().manual_seed(0))
    features = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    rebuilt = descriptor.up(descriptor.down(features))
    errors = ((rebuilt - features) ** 2).mean(dim=1)
    torch.testing.assert_close(descriptor(features), errors)
    descriptor.know(torch.tensor([1.0, 3.0]))
    assert (float(descriptor.mean), float(descriptor.deviation)) == (2.0, 1.0)
    torch.testing.assert_close(descriptor.surprise(features), (errors - 2).abs().mean())


def test_an_expansion_has_the_papers_parameters() -> None:
    with torch.device("meta"):
        model = timm.create_model("vit_base_patch16_224")
    adapters = AdapterMixture(model, [9, 10, 11], 16, 128, 1.0, torch.Generator())
    expert = adapters.add(9, torch.Generator())
    counts = [sum(value.numel() for value in part.parameters()) for part in expert.children()]
    assert counts == [25_360, 769, 197_504]
    assert sorted(adapters.mixtures) == [9, 10, 11]
    assert len(adapters.parts) == 12


@pytest.mark.slow
def test_it_goes_on_with_what_was_added_after_an_interruption(
    make_stream: Any, tmp_path: Path, scenario: Scenario
) -> None:
    def make(checkpoint: Path | None = None) -> Any:
        return make_stream(SEMA(**SMALL, threshold=0.8), checkpoint=checkpoint, **TRAINING)

    whole, cut = make(), make(tmp_path / "c.ckpt")
    whole.run()
    end = cut.learner.end_task

    def stop(task: Task) -> None:
        if task.index == 2:
            raise KeyboardInterrupt
        end(task)

    cut.learner.end_task = stop
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    again = make(tmp_path / "c.ckpt")
    again.run()
    mine, theirs = again.learner.state_dict(), whole.learner.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    (plugin,) = again.learner.plugins
    assert plugin._experts["1"] > 1


def test_what_is_refused(make_stream: Any, scenario: Scenario) -> None:
    with pytest.raises(UserError, match="the backbone has only the blocks 0 to 1"):
        make_stream(SEMA(expandable="9-11")).learner.start(scenario)
    with pytest.raises(UserError, match="sema: records is 1, but must be at least 2"):
        SEMA(records=1)
    with pytest.raises(UserError, match=r"sema: threshold is -1\.0, but must be at least 0"):
        SEMA(threshold=-1.0)
    for other, reason in {"pet": "both freeze", "acl": "not there yet", "joint": "nothing to expand for"}.items():
        with pytest.raises(UserError, match=reason):
            check_method([(name, find_plugin(name)[1]) for name in ("sema", other)], "class_incremental")
    with pytest.raises(UserError, match=r"sema: training\.head must be linear or cosine"):
        clip_stream(scenario, SEMA(), **ZERO_SHOT).learner.start(scenario)
    online = dataclasses.replace(scenario, kind="online")
    with pytest.raises(UserError, match="looks at a task's images before the training"):
        check_method([("sema", find_plugin("sema")[1])], online.kind)
