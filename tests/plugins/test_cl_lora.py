"""CL-LoRA: what is shared and distilled, what belongs to a task, and prototypes under each task's LoRA."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.backbones.vit import Backbone
from clsuite.data.batch import Batch, gather
from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.options import OptimizerSpec, TrainingSpec
from clsuite.peft import only
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import find_plugin
from clsuite.plugin.compatibility import check_method
from clsuite.scenarios import Scenario, Task
from clsuite_plugins.cl_lora import CLLoRA

SGD: dict[str, Any] = {
    "loss": "local", "epochs": 2, "head": "cosine", "head_scale": 1.0, "head_init": "uniform",
    "optimizer": OptimizerSpec(name="sgd", lr=0.03, head_lr=0.03),
}  # fmt: skip


def batch_of(learner: Learner, rows: Any) -> Batch:
    batch = gather(learner.scenario.table, learner.scenario.labels, rows)
    assert batch.images is not None
    return batch.with_images(learner.backbone.normalize(batch.images))


def copy_of(module: Any) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.named_parameters()}


class Look(Plugin):
    """Keeps the shared LoRA and answers at the end of each task."""

    def __init__(self, method: CLLoRA) -> None:
        super().__init__()
        self.method = method
        self.shared: list[dict[str, Tensor]] = []
        self.answers: list[Tensor] = []

    def on_task_end(self, learner: Learner, task: Task) -> None:
        self.shared.append(copy_of(self.method.common))
        with torch.no_grad():
            batch = batch_of(learner, learner.scenario.tasks[0].test[:16])
            self.answers.append(learner.eval().predict_logits(batch))


def test_the_stream_begins_with_the_pre_trained_network(make_stream: Any, scenario: Scenario) -> None:
    learner = make_stream(CLLoRA(rank=4)).learner.eval()
    images = batch_of_images(learner, scenario)
    before = learner.backbone(images)
    learner.start(scenario)
    learner.begin_task(scenario.tasks[0])
    assert torch.equal(learner.eval().backbone(images), before)


def batch_of_images(learner: Learner, scenario: Scenario) -> Tensor:
    images = torch.from_numpy(scenario.table.images[scenario.tasks[0].test[:4]])
    found: Tensor = learner.backbone.normalize(images)
    return found


@pytest.mark.slow
def test_the_shared_lora_is_trained_in_every_task_and_its_rows_never(make_stream: Any) -> None:
    method = CLLoRA(rank=4)
    look = Look(method)
    stream = make_stream(method, look, **SGD)
    body = copy_of(stream.learner.backbone)
    stream.run()
    for name in look.shared[0]:
        same = [torch.equal(one[name], other[name]) for one, other in zip(look.shared, look.shared[1:], strict=False)]
        assert same == [name.endswith("down")] * 2, name
    assert [any(value.requires_grad for value in module.parameters()) for module in method.modules] == [0, 0, 1]
    assert all(torch.equal(value, body[name]) for name, value in copy_of(stream.learner.backbone).items())


@pytest.mark.slow
def test_a_class_s_score_is_its_cosine_under_the_lora_of_its_task(make_stream: Any, scenario: Scenario) -> None:
    method = CLLoRA(rank=4)
    stream = make_stream(method, **SGD)
    stream.run()
    learner = stream.learner.eval()
    rows = np.concatenate([task.test for task in scenario.tasks])
    batch = batch_of(learner, rows)
    with torch.no_grad():
        answer = learner.predict_logits(batch)
        for task in scenario.tasks:
            with only(method.modules, task.index):
                features = learner.backbone(batch.images)
            cosines = F.cosine_similarity(features[:, None], method._prototypes[list(task.classes)][None], dim=2)
            torch.testing.assert_close(answer[:, list(task.classes)], cosines, atol=1e-5, rtol=1e-4)
        one = learner.predict_logits(batch_of(learner, rows[3:4]))
        torch.testing.assert_close(one, answer[3:4], atol=1e-5, rtol=1e-4)
        for value in method.modules[1].parameters():
            value.add_(1.0)
        moved = learner.predict_logits(batch)
    assert torch.equal(moved[:, [0, 1, 4, 5]], answer[:, [0, 1, 4, 5]])
    assert not torch.allclose(moved[:, 2:4], answer[:, 2:4], atol=1e-3)
    assert (answer.argmax(dim=1).numpy() == stream.matrix.class_incremental[-1]).all()


class NothingShared(CLLoRA):
    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        super().on_stream_start(learner, scenario)
        self.common.requires_grad_(False)


def test_without_anything_shared_old_answers_do_not_change(make_stream: Any) -> None:
    method = NothingShared(rank=4, distillation=0)
    look = Look(method)
    make_stream(method, look, **SGD).run()
    torch.testing.assert_close(look.answers[2][:, :2], look.answers[0], atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_the_distillation_is_a_step_of_its_own(make_stream: Any) -> None:
    """Batches pass backwards twice from the second task on; without it once."""
    counted = []
    for weight in (5.0, 0.0):
        samples: list[int] = []

        class Count(Plugin):
            def on_task_end(self, learner: Learner, task: Task, samples: list[int] = samples) -> None:
                samples.append(learner.gradient_samples)

        make_stream(CLLoRA(rank=4, distillation=weight), Count(), **SGD).run()
        counted.append(samples)
    once, more = counted[1], counted[0]
    assert more == [once[0], 2 * once[1], 2 * once[2]]


def test_distillation_moves_the_shared_lora_alone_and_holds_it(make_stream: Any, scenario: Scenario) -> None:
    """By hand: the loss, and which parameters it reaches."""
    method = CLLoRA(rank=4)
    stream = make_stream(method, **SGD)
    stream.run()
    learner = stream.learner.eval()
    batch = batch_of(learner, scenario.tasks[2].train[:8])
    loss = method._distilled(learner, batch)
    logits = []
    for module in (method.before, method.common):
        with only([method.before, method.common], (method.before, method.common).index(module)):
            tokens: list[Tensor] = []
            handle = learner.backbone.model.blocks[0].register_forward_hook(lambda *of, to=tokens: to.append(of[2]))
            learner.backbone(batch.images)
            handle.remove()
        features = learner.backbone.model.forward_head(learner.backbone.model.norm(tokens[0]), pre_logits=True)
        logits.append(learner.head(features)[:, 4:6] / 2)
    expected = -(logits[0].softmax(dim=1) * logits[1].log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-4)
    loss.backward()
    reached = {name for name, value in learner.named_parameters() if value.grad is not None and value.grad.any()}
    shared = {f"plugin_modules.CLLoRA_shared.parts.0_{target}.up" for target in "qv"}
    assert reached == {*shared, "head.scale", "head.groups.2.weight"}


def test_block_weights_are_pushed_apart(make_stream: Any) -> None:
    """The loss is the mean of the cosines to each earlier task's weights, by hand; 0 in the first task."""
    method = CLLoRA(rank=4, orthogonality=0.5)
    stream = make_stream(method, **SGD)
    stream.run()
    first, second, third = (module.weights.detach().flatten() for module in method.modules)
    cosines = [float(one @ third / one.norm() / third.norm()) for one in (first, second)]
    loss = method.loss(stream.learner, None)  # type: ignore[arg-type]
    assert loss is not None
    assert float(loss.detach()) == pytest.approx(0.5 * sum(cosines) / 2, rel=1e-5)
    method.modules = method.modules[:1]
    assert method.loss(stream.learner, None) is None  # type: ignore[arg-type]


def test_it_trains_as_many_parameters_as_the_authors(scenario: Scenario) -> None:
    """ViT-B/16 from the second task on, without the head: the log says 221,202."""
    with torch.device("meta"):
        model = timm.create_model("vit_base_patch16_224", num_classes=0)
    method = CLLoRA()
    learner = Learner(Backbone(model, (0.5,) * 3, (0.5,) * 3), TrainingSpec(), [method], 0)
    learner.start(scenario)
    for index in range(2):
        method._add(learner, index)
    assert sum(value.numel() for value in learner.parameters() if value.requires_grad) == 221_202


@pytest.mark.slow
def test_what_is_stored_leaves_out_the_copy_of_the_shared_lora(make_stream: Any) -> None:
    method = CLLoRA(rank=4)
    make_stream(method, **SGD).run()
    pair = 2 * 2 * 192 * 4
    assert method.stored_bytes() == {"modules": 4 * (pair + 3 * (pair + 3)), "prototypes": 4 * 6 * 192}


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ("pet", "both freeze the backbone"),
        ("wise_ft", "would not belong to the weights that are evaluated"),
        ("classifier_alignment", "prototypes answer, and not the head that is aligned"),
    ],
)
def test_what_does_not_go_with_it_is_refused(other: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        check_method([(name, find_plugin(name)[1]) for name in ("cl_lora", other)], "class_incremental")


def test_classes_that_come_again_are_refused(make_stream: Any, scenario: Scenario) -> None:
    tasks = (scenario.tasks[0], dataclasses.replace(scenario.tasks[1], classes=scenario.tasks[0].classes))
    again = Scenario(scenario.kind, scenario.table, scenario.labels, scenario.classes, tasks)
    with pytest.raises(UserError, match="cl_lora: a class of the stream comes in several tasks"):
        make_stream(CLLoRA(rank=4), on=again).run()


def test_all_blocks_cannot_be_shared(make_stream: Any) -> None:
    with pytest.raises(UserError, match="shared is 2, but of 2 blocks one or more must be left to tasks"):
        make_stream(CLLoRA(rank=4, shared=2)).run()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"rank": 0}, "rank is 0"),
        ({"shared": 0}, "shared is 0"),
        ({"temperature": 0.0}, r"temperature is 0\.0"),
        ({"distillation": -1.0}, r"distillation is -1\.0"),
    ],
)
def test_bad_arguments_are_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=f"cl_lora: {reason}"):
        CLLoRA(**given)
