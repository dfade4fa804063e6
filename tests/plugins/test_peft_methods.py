"""LAE and sequential parameter-efficient tuning do what their papers say."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clsuite.data.batch import gather
from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.plugin import Plugin
from clsuite.scenarios import Scenario
from clsuite_plugins.lae import LAE
from clsuite_plugins.pet import Pet
from clsuite_plugins.s_pet import SPet

KINDS = ("lora", "adapter", "prefix", "prompt", "ia3", "adaptformer", "ssf")


def values(module: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_pet_learns_and_leaves_the_backbone_alone(kind: Any, make_stream: Any) -> None:
    stream = make_stream(Pet(kind, size=2), epochs=2)
    before = {name: value.clone() for name, value in stream.learner.backbone.state_dict().items()}
    stream.run()
    for name, value in stream.learner.backbone.state_dict().items():
        assert torch.equal(before[name], value), name
    assert stream.matrix.counts().of("task_aware").accuracy.diagonal().min() > 0.7


def test_merged_lora_goes_into_the_weights_after_each_task_but_the_last(make_stream: Any) -> None:
    plugin = Pet("lora", size=2, after_task="merge")
    stream = make_stream(plugin, epochs=2)
    name = "model.blocks.0.attn.qkv.weight"
    weights: list[torch.Tensor] = []

    class Look(Plugin):
        def on_task_end(self, learner: Learner, task: Any) -> None:
            weights.append(learner.backbone.state_dict()[name].clone())

    stream.learner.plugins += (Look(),)
    stream.run()
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
    assert torch.linalg.matrix_rank(weights[2] - weights[0], tol=1e-6) > 2
    assert torch.equal(weights[2], stream.learner.backbone.state_dict()[name])


def test_only_lora_can_be_merged() -> None:
    with pytest.raises(UserError, match="a prefix cannot be merged"):
        Pet("prefix", after_task="merge")


@pytest.mark.parametrize("pet", ["lora", "adapter", "prefix", "ia3", "adaptformer"])
def test_lae_offline_is_a_copy_at_the_second_task_and_follows_every_step(pet: Any, make_stream: Any) -> None:
    plugin = LAE(pet=pet, size=2, blocks="all", frozen_epochs=1, decay=0.9)
    expected: list[torch.Tensor] = []
    rests: list[bool] = []

    class Look(Plugin):
        def on_task_start(self, learner: Learner, task: Any) -> None:
            if task.index == 1:
                assert same(values(plugin.online), values(plugin.offline))
                expected[:] = values(plugin.offline)
                self.start = values(plugin.online)

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
            if pl_module.task.index == 1:
                expected[:] = [0.9 * e + 0.1 * o for e, o in zip(expected, values(plugin.online), strict=True)]
                if trainer.current_epoch == 0:
                    rests.append(same(self.start, values(plugin.online)))

        def on_task_end(self, learner: Learner, task: Any) -> None:
            if task.index == 1:
                assert not same(self.start, values(plugin.online))
                for mine, theirs in zip(expected, values(plugin.offline), strict=True):
                    torch.testing.assert_close(mine, theirs)

    stream = make_stream(plugin, Look(), epochs=2, loss="local")
    stream.run()
    assert rests
    assert all(rests)


class Plans(Plugin):
    """Plans other epochs than the benchmark has."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.epochs = epochs

    def plan_training(self, learner: Learner, task: Any, plan: Any) -> Any:
        return plan.with_options(epochs=self.epochs)


def test_lae_rests_in_fewer_epochs_than_are_planned(make_stream: Any, scenario: Scenario) -> None:
    two = scenario.first(2)
    make_stream(LAE(size=2, blocks="all", frozen_epochs=1), Plans(2), on=two, epochs=1, loss="local").run()
    with pytest.raises(UserError, match=r"first 1 epochs, and training\.epochs is 1: it would never learn"):
        make_stream(LAE(size=2, blocks="all", frozen_epochs=1), on=two, epochs=1, loss="local").run()
    late = make_stream(LAE(size=2, blocks="all", frozen_epochs=1), Plans(1), on=two, epochs=2, loss="local")
    with pytest.raises(UserError, match="rests in the first 1 epochs, and the epochs planned for task 1 are 1: it"):
        late.run()


def test_lae_answers_with_the_larger_probability_of_the_two(make_stream: Any, scenario: Scenario) -> None:
    plugin = LAE(size=2, blocks="all", frozen_epochs=0, decay=0.5)
    stream = make_stream(plugin, loss="local")
    stream.run()
    learner = stream.learner.eval()
    rows = scenario.tasks[0].test
    batch = gather(scenario.table, scenario.labels, rows)
    batch = batch.with_images(learner.backbone.normalize(batch.images))
    with torch.no_grad():
        online = learner.head(learner.backbone(batch.images)).softmax(dim=1)
        plugin.online.enabled, plugin.offline.enabled = False, True
        offline = learner.head(learner.backbone(batch.images)).softmax(dim=1)
        plugin.online.enabled, plugin.offline.enabled = True, False
        answer = learner.predict_logits(batch)
    assert not torch.equal(online, offline)
    torch.testing.assert_close(answer.exp(), torch.maximum(online, offline))
    assert (stream.matrix.class_incremental[-1][: len(rows)] == answer.argmax(dim=1).numpy()).all()


def test_local_cross_entropy_leaves_old_heads_alone(make_stream: Any) -> None:
    first: list[torch.Tensor] = []

    class Look(Plugin):
        def on_task_end(self, learner: Learner, task: Any) -> None:
            first.append(learner.head.groups[0].weight.detach().clone())

    make_stream(LAE(size=2, blocks="all", frozen_epochs=0), Look(), loss="local").run()
    assert torch.equal(first[0], first[1])
    assert torch.equal(first[1], first[2])


@pytest.mark.slow
@pytest.mark.parametrize("pet", KINDS)
def test_s_pet_gives_each_image_the_module_of_the_nearest_centroid(
    pet: Any, make_stream: Any, scenario: Scenario
) -> None:
    plugin = SPet(pet=pet, size=2, clusters=2)
    stream = make_stream(plugin, loss="local", epochs=2)
    stream.run()
    learner = stream.learner.eval()
    assert len(plugin.modules) == 3
    assert plugin._owners.tolist() == [0, 0, 1, 1, 2, 2]
    rows = scenario.tasks[1].test[:6]
    batch = gather(scenario.table, scenario.labels, rows)
    batch = batch.with_images(learner.backbone.normalize(batch.images))
    with torch.no_grad():
        answer = learner.predict_logits(batch)
        for module in plugin.modules:
            module.enabled = False
        query = torch.nn.functional.normalize(learner.backbone(batch.images), dim=1)
        for position in range(len(rows)):
            distance = (plugin._centroids - query[position]).square().sum(dim=1)
            owner = int(plugin._owners[distance.argmin()])
            with plugin.modules[owner].switched(True):
                expected = plugin._heads[owner](learner.backbone(batch.images[position : position + 1]))[0]
            own = list(scenario.tasks[owner].classes)
            torch.testing.assert_close(answer[position, own], expected, rtol=1e-4, atol=1e-4)
            assert answer[position].argmax() in own
    assert torch.isfinite(answer).all()


def test_s_pet_computes_each_query_once(make_stream: Any, scenario: Scenario) -> None:
    plugin = SPet(size=2)
    stream = make_stream(plugin, loss="local")
    seen: list[int] = []

    def count(module: Any, inputs: Any, output: Any) -> None:
        if plugin.modules and not any(pet.enabled for pet in plugin.modules):
            seen.append(len(output))

    stream.learner.backbone.register_forward_hook(count)
    stream.run()
    assert sum(seen) == sum(len(task.train) + len(task.test) for task in scenario.tasks)


def test_a_model_that_is_given_images_of_its_own_answers_the_same(make_stream: Any, scenario: Scenario) -> None:
    plugin = SPet(size=2)
    stream = make_stream(plugin, loss="local")
    stream.run()
    learner = stream.learner.eval()
    batch = gather(scenario.table, scenario.labels, scenario.tasks[0].test[:8])
    batch = batch.with_images(learner.backbone.normalize(batch.images))
    unknown = torch.full((8,), -1)
    with torch.no_grad():
        known = learner.predict_logits(batch)
        elsewhere = learner.predict_logits(type(batch)(batch.images, unknown, unknown, unknown > 0))
    torch.testing.assert_close(known, elsewhere, rtol=1e-4, atol=1e-4)
