"""First values of a head are a setting: a normal, zeros or PyTorch's uniform."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from clsuite.learner.head import GrowingHead
from clsuite.learner.options import SMALL_INIT, TrainingSpec
from clsuite_plugins.finetune import Finetune

WIDTH = 400


def first(first_values: Any, **more: Any) -> GrowingHead:
    head = GrowingHead(WIDTH, first_values=first_values, **more)
    head.grow(300, torch.Generator().manual_seed(0))
    return head


@pytest.mark.parametrize("std", [0.001, 0.02, 0.5])
def test_a_number_is_the_standard_deviation_of_a_normal(std: float) -> None:
    group = first(std).groups[0]
    assert float(group.weight.std()) == pytest.approx(std, rel=0.02)
    assert float(group.weight.abs().max()) > 3 * std
    assert not group.bias.any()


def test_zero_is_zeros() -> None:
    assert not any(values.any() for values in first(0.0).parameters())


def test_uniform_is_what_a_linear_layer_of_pytorch_begins_with() -> None:
    group, layer = first("uniform").groups[0], torch.nn.Linear(WIDTH, 300)
    bound = WIDTH**-0.5
    for ours, theirs in ((group.weight, layer.weight), (group.bias, layer.bias)):
        assert float(ours.abs().max()) <= bound
        assert float(theirs.abs().max()) <= bound
        assert float(ours.std()) == pytest.approx(bound / 3**0.5, rel=0.06)
        assert float(ours.std()) == pytest.approx(float(theirs.std()), rel=0.08)


def test_a_reset_head_begins_as_it_began() -> None:
    head = first("uniform", cosine=True, first_scale=3.0)
    assert float(head.scale) == 3.0
    with torch.no_grad():
        head.scale.fill_(8.0)
    before = head.groups[0].weight.clone()
    head.reset(torch.Generator().manual_seed(0))
    assert float(head.scale) == 3.0
    assert torch.equal(head.groups[0].weight, before)


@pytest.mark.parametrize(
    ("given", "resolved"),
    [({}, SMALL_INIT), ({"head": "cosine"}, "uniform"), ({"head": "cosine", "head_init": 0.1}, 0.1),
     ({"head_init": "uniform"}, "uniform"), ({"head_init": 0}, 0.0)],
)  # fmt: skip
def test_the_default_follows_the_kind_of_head_and_is_written_out(given: dict[str, Any], resolved: Any) -> None:
    spec = TrainingSpec(**given)
    assert spec.first_values == resolved
    assert spec.resolved().head_init == resolved


@pytest.mark.parametrize("bad", [-0.1, "normal", float("nan")])
def test_other_first_values_are_refused(bad: Any) -> None:
    with pytest.raises(ValidationError, match="head_init"):
        TrainingSpec(head_init=bad)


def test_a_cosine_head_of_zeros_is_refused() -> None:
    with pytest.raises(ValidationError, match="needs initial weights with a direction"):
        TrainingSpec(head="cosine", head_init=0)


def test_a_head_has_all_classes_of_the_stream_from_the_start(make_stream: Any, scenario: Any) -> None:
    stream = make_stream(Finetune(), head_classes="stream")
    shapes: list[int] = []
    stream.learner.head.register_forward_hook(lambda module, inputs, logits: shapes.append(logits.shape[1]))
    stream.run()
    assert set(shapes) == {len(scenario.classes)}
    assert stream.learner.head.sizes == [len(scenario.classes)]
    for row, predicted in enumerate(stream.matrix.class_incremental):
        assert predicted.max() < scenario.seen_classes(max(row, 1))


def test_unseen_classes_are_trained_down_where_the_head_has_them(make_stream: Any, scenario: Any) -> None:
    """The cross-entropy runs over all classes of the stream: the unseen columns are pushed below the seen ones."""
    learner = make_stream(Finetune(), head_classes="stream", epochs=3).learner
    stream = make_stream(Finetune(), head_classes="stream", epochs=3, on=scenario.first(1))
    stream.run()
    learner = stream.learner
    with torch.no_grad():
        logits = learner.head(learner.features_of(scenario.tasks[0].test))
    assert learner.seen == 2
    assert logits.shape[1] == len(scenario.classes)
    assert float(logits[:, :2].mean()) > float(logits[:, 2:].mean()) + 0.5
