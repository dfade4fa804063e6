"""CLIP in benchmarks: what the plan refuses and what the record says."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from clsuite.backbones.spec import BackboneSpec, Weights
from clsuite.backbones.vit import build_backbone, forward_flops
from clsuite.errors import UserError
from clsuite.runner.execute import execute
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import RunPlan, make_plan
from clsuite.runner.spec import BenchmarkSpec

NANO = {"name": "open_clip:clip_nano", "weights": "random"}
RESNET = {"name": "test_resnet", "weights": "random"}


def plans(tmp_path: Path, method: Any, **sections: Any) -> list[RunPlan]:
    base = {"name": "mine", "dataset": {"name": "digits"}, "scenario": {"tasks": 5}, "seeds": [0]}
    spec = BenchmarkSpec.model_validate({**base, **sections, "methods": {"m": method}})
    return make_plan(spec, tmp_path, RunOptions(out=tmp_path))


@pytest.mark.parametrize(
    ("method", "sections", "message"),
    [
        ("zero_shot", {}, "plugin 'zero_shot' needs CLIP, and backbone 'omniglot_vit' has no text tower"),
        ("finetune", {"training": {"head": "zero_shot"}}, "training.head: zero_shot needs CLIP"),
        ("finetune", {"training": {"tune": "text"}}, "training.tune: text needs CLIP"),
        ("finetune", {"backbone": NANO, "training": {"tune": "both"}}, "needs training.head: zero_shot"),
        ("pet", {"backbone": RESNET}, "plugin 'pet' needs a ViT: backbone 'test_resnet' is a ResNet"),
        ("lae", {"backbone": {"name": "open_clip:RN50", "weights": "random"}}, "plugin 'lae' needs a ViT"),
        ("hft", {"backbone": {"name": "resnet18.a1_in1k"}}, "plugin 'hft' needs a ViT"),
        ("joint", {"training": {"loss": "local"}}, "plugin 'joint' needs training.loss: global"),
        (
            {"plugins": [{"pet": {"after_task": "merge"}}, "momentum"]},
            {},
            "'pet' with after_task: merge and 'momentum'",
        ),
        ({"plugins": ["ewc", {"pet": {"after_task": "merge"}}]}, {}, "'pet' with after_task: merge and 'ewc'"),
        ("zero_shot+replay", {"backbone": NANO}, "'zero_shot' takes no gradient steps"),
    ],
)
def test_refused_before_any_run(tmp_path: Path, method: Any, sections: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plans(tmp_path, method, **sections)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"icarl": {"capacity": 9}}, "icarl: a herding buffer of 9 has fewer exemplars than the .* 10 classes"),
        ({"gdumb": {"capacity": 9}}, "gdumb: a class_balanced buffer of 9 has fewer exemplars"),
        ({"fpf": {"capacity": 9}}, "fpf: a class_balanced buffer of 9 has fewer exemplars"),
        ({"replay": {"capacity": 9, "buffer": "class_balanced"}}, "replay: a class_balanced buffer of 9"),
        (
            {"replay": {"capacity": None, "capacity_bytes": 9 * (1024 + 8), "buffer": "herding"}},
            "a herding buffer of 9",
        ),
        ({"plugins": ["momentum", {"replay": {"buffer": "herding"}}]}, "write \\[replay, momentum\\]"),
    ],
)
def test_buffers_that_cannot_be_are_refused_before_any_run(tmp_path: Path, method: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        plans(tmp_path, method)


def test_a_borrowed_buffer_counts_and_not_the_one_that_would_stand_in_for_it(tmp_path: Path) -> None:
    assert plans(tmp_path, {"plugins": [{"replay": {"capacity": 9}}, {"fpf": {"capacity": 9}}]})


def test_herding_is_a_second_pass(tmp_path: Path) -> None:
    online = {"scenario": {"kind": "online", "tasks": 5}, "training": {"epochs": 1}}
    assert plans(tmp_path, {"replay": {"capacity": 50}}, **online)
    with pytest.raises(UserError, match=r"plugin 'replay' cannot herd on online streams: .* stream passes once"):
        plans(tmp_path, {"replay": {"capacity": 50, "buffer": "herding"}}, **online)


def test_gdumb_passes_over_its_memory_on_streams_that_pass_once(tmp_path: Path) -> None:
    online = {"scenario": {"kind": "online", "tasks": 5}, "training": {"epochs": 1}}
    training = plans(tmp_path, {"gdumb": {"capacity": 50}}, **online)[0].pending.config["training"]
    assert (training["epochs"], training["batch_size"], training["gradient_clip"]) == (256, 16, 10.0)


def test_der_brings_its_authors_head(tmp_path: Path) -> None:
    training = plans(tmp_path, "der")[0].pending.config["training"]
    assert (training["head_classes"], training["head_init"]) == ("stream", "uniform")


def test_templates_are_in_the_record_and_its_key(tmp_path: Path) -> None:
    default, named = (
        plans(tmp_path, "zero_shot", backbone={**NANO, **extra})[0].pending for extra in ({}, {"templates": "mnist"})
    )
    assert default.config["backbone"]["templates"] == ["a photo of a {}."]
    assert named.config["backbone"]["templates"] == ['a photo of the number: "{}".']
    assert default.key != named.key
    assert "templates" not in plans(tmp_path, "finetune")[0].pending.config["backbone"]


def test_a_record_counts_parameters_and_operations_of_a_resnet(tmp_path: Path) -> None:
    small = {"name": "digits", "train_per_class": 8, "test_per_class": 4}
    plan = plans(tmp_path, "finetune", backbone=RESNET, dataset=small, training={"precision": "32"})[0]
    record = execute(dataclasses.replace(plan, save_model=True), lambda event: None)
    assert record.status == "done", record.error
    backbone = build_backbone(BackboneSpec(name="test_resnet", image_size=32), Weights("random"))
    own = sum(value.numel() for value in backbone.parameters())
    head = 10 * (backbone.width + 1)
    assert record.cost is not None
    assert record.cost.total_parameters == record.cost.trainable_parameters == own + head
    assert record.cost.forward_flops_per_image == forward_flops(backbone, 32) > 0
    samples = sum(task.gradient_samples for task in record.tasks)
    assert record.cost.training_flops == 3 * record.cost.forward_flops_per_image * samples
    assert record.environment["normalization"]["mean"] == [0.5, 0.5, 0.5]
