"""APER classifies by class means of plain and tuned features."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import timm
import torch
from sklearn.metrics.pairwise import cosine_similarity

from clsuite.errors import UserError
from clsuite.peft import build_pet
from clsuite.scenarios import Scenario
from clsuite_plugins.aper import APER


def test_it_is_the_cosine_to_means_of_both_features(make_stream: Any, scenario: Scenario) -> None:
    stream = make_stream(APER(size=4))
    plain = copy.deepcopy(stream.learner.backbone).eval()
    stream.run()
    learner = stream.learner

    def both(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with torch.no_grad():
            images = plain.normalize(learner.images_of(rows))
            return torch.cat([plain(images), learner.features_of(rows)], dim=1).double().numpy()

    train = np.concatenate([task.train for task in scenario.tasks])
    features, labels = both(train), scenario.labels[train]
    assert not np.allclose(features[:, : plain.width], features[:, plain.width :], atol=1e-3)
    means = np.stack([features[labels == label].mean(axis=0) for label in range(6)])
    expected = cosine_similarity(both(stream.matrix.rows), means).argmax(axis=1)
    assert np.mean(expected == stream.matrix.class_incremental[-1]) > 0.99
    assert [task.steps > 0 for task in stream.tasks] == [True, False, False]
    assert stream.matrix.counts().of("class_incremental").accuracy[-1].mean() > 0.85


def test_the_module_rests_after_the_first_task(make_stream: Any) -> None:
    plugin = APER(size=4)
    stream = make_stream(plugin)
    seen: list[torch.Tensor] = []
    end = stream.learner.end_task

    def look(task: Any) -> None:
        end(task)
        seen.append(torch.cat([value.detach().flatten() for value in plugin.module.parameters()]).clone())

    stream.learner.end_task = look
    stream.run()
    assert seen[0].count_nonzero() > 0
    assert all(torch.equal(seen[0], later) for later in seen[1:])
    assert not any(parameter.requires_grad for parameter in stream.learner.parameters())


VARIANTS: dict[str, dict[str, Any]] = {
    "shallow": {"kind": "prompt", "blocks": "0", "prompt_init": "zeros"},
    "deep": {"kind": "prompt", "prompt_init": "zeros"},
    "ssf": {"kind": "ssf", "ends": True},
}


@pytest.mark.parametrize(
    ("variant", "number"), [("shallow", 5 * 768), ("deep", 12 * 5 * 768), ("ssf", 12 * 2 * 11 * 768 + 4 * 768)]
)
def test_the_papers_variants_have_their_parameter_counts(variant: str, number: int) -> None:
    """SSF, table 1: 0.28 M with a head of 100 classes, 76,900; 205,824 without. VPT: as many as tokens times width."""
    with torch.device("meta"):
        model = timm.create_model("vit_base_patch16_224", num_classes=0)
    build: Any = APER(**VARIANTS[variant])._build
    assert build_pet(model=model, generator=torch.Generator(), **build).numel == number


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variant_is_tuned_and_answers(variant: str, make_stream: Any) -> None:
    stream = make_stream(plugin := APER(**VARIANTS[variant]), optimizer={"lr": 5e-3, "head_lr": 3e-3})
    stream.learner.start(stream.scenario)
    before = [value.detach().clone() for value in plugin.module.parameters()]
    stream = make_stream(plugin := APER(**VARIANTS[variant]), optimizer={"lr": 5e-3, "head_lr": 3e-3})
    stream.run()
    changed = [not torch.equal(one, other) for one, other in zip(before, plugin.module.parameters(), strict=True)]
    assert all(changed)
    assert stream.matrix.counts().of("class_incremental").accuracy[-1].mean() > 0.8


def test_arguments_of_other_kinds_are_refused() -> None:
    with pytest.raises(UserError, match="ends"):
        APER(kind="prompt", ends=True)
    with pytest.raises(UserError, match="prompt_init"):
        APER(kind="ssf", prompt_init="zeros")
