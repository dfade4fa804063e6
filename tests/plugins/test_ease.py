"""EASE: subspaces, synthesized prototypes and their reweighting, against the paper's equations written out."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clsuite.errors import UserError
from clsuite.plugin.catalog import find_plugin
from clsuite.plugin.compatibility import check_method
from clsuite.scenarios import Scenario
from clsuite_plugins.ease import EASE, synthesize


@pytest.fixture
def learned(make_stream: Any) -> tuple[EASE, Any]:
    plugin = EASE(size=4)
    stream = make_stream(plugin, epochs=2, loss="local", head="cosine")
    stream.run()
    return plugin, stream


def features_in(plugin: EASE, stream: Any, subspace: int, rows: np.ndarray) -> torch.Tensor:
    for number, module in enumerate(plugin.modules):
        module.enabled = number == subspace
    images = torch.from_numpy(stream.scenario.table.images[rows])
    stream.learner.eval()
    with torch.no_grad():
        return stream.learner.backbone(stream.learner.backbone.normalize(images))


def test_each_task_trains_its_own_module_and_no_other(learned: tuple[EASE, Any], make_stream: Any) -> None:
    plugin, stream = learned
    shorter = EASE(size=4)
    first = make_stream(shorter, epochs=2, loss="local", head="cosine", on=stream.scenario.first(1))
    first.run()
    assert len(plugin.modules) == 3
    for mine, theirs in zip(plugin.modules[0].parameters(), shorter.modules[0].parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert all(part.up.weight.abs().max() > 0 for module in plugin.modules for part in module.parts.values())
    assert not any(value.requires_grad for value in stream.learner.backbone.parameters())
    assert [any(value.requires_grad for value in module.parameters()) for module in plugin.modules] == [0, 0, 1]


def test_answers_are_the_paper_s_equations(learned: tuple[EASE, Any], scenario: Scenario) -> None:
    plugin, stream = learned
    tests = np.concatenate([task.test for task in scenario.tasks])
    means = np.zeros((6, 3), dtype=object)
    for task in scenario.tasks:
        for subspace in range(task.index + 1):
            features = features_in(plugin, stream, subspace, task.train)
            for label in task.classes:
                means[label, subspace] = features[scenario.labels[task.train] == label].mean(dim=0)
    for label, subspace in [(0, 1), (1, 1), (0, 2), (1, 2), (2, 2), (3, 2)]:
        donors = [other for other in range(6) if other // 2 >= subspace]
        own = label // 2
        cosines = torch.stack([F.cosine_similarity(means[label, own], means[other, own], dim=0) for other in donors])
        means[label, subspace] = sum(w * means[d, subspace] for w, d in zip(cosines.softmax(0), donors, strict=True))
    logits = torch.zeros(len(tests), 6)
    for subspace in range(3):
        features = features_in(plugin, stream, subspace, tests)
        for label in range(6):
            weight = 1.0 if label // 2 == subspace else 0.1 / 2
            logits[:, label] += weight * F.cosine_similarity(features, means[label, subspace][None], dim=1)
    np.testing.assert_array_equal(stream.matrix.class_incremental[-1], logits.argmax(dim=1).numpy())
    assert stream.matrix.counts().of("class_incremental").accuracy[-1].mean() > 0.8


def test_images_that_are_in_no_table_get_the_same_answers(learned: tuple[EASE, Any], scenario: Scenario) -> None:
    from clsuite.runner.model_file import TrainedModel

    _, stream = learned
    rows = np.concatenate([task.test for task in scenario.tasks])
    answers = TrainedModel(stream.learner, scenario.classes).predict(scenario.table.images[rows])
    np.testing.assert_array_equal(answers, stream.matrix.class_incremental[-1])


def test_features_of_a_trained_module_are_computed_once_per_image(make_stream: Any, scenario: Scenario) -> None:
    stream, seen = make_stream(EASE(size=4), loss="local"), []
    stream.learner.backbone.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    stream.run()
    train, test = ([len(getattr(task, part)) for task in scenario.tasks] for part in ("train", "test"))
    means = train[0] + 2 * train[1] + 3 * train[2]
    matrix = sum(test[: task + 1][number] for task in range(3) for number in range(task + 1))
    later = test[1] + 2 * test[2]
    assert sum(seen) == sum(train) + test[0] + means + matrix + later


def test_prototypes_that_are_there_stay() -> None:
    generator = torch.Generator().manual_seed(0)
    means, owners = torch.randn(4, 2, 5, generator=generator), torch.tensor([0, 0, 1, -1])
    filled = synthesize(means, owners)
    assert torch.equal(filled[:, 0], means[:, 0])
    assert torch.equal(filled[2:], means[2:])
    torch.testing.assert_close(filled[0, 1], means[2, 1])


def test_what_is_refused() -> None:
    with pytest.raises(UserError, match=r"ease: alpha is -1, but must be at least 0"):
        EASE(alpha=-1)
    for other, reason in {"lae": "both answer prediction", "momentum": "the prototypes would not belong to"}.items():
        with pytest.raises(UserError, match=reason):
            check_method([(name, find_plugin(name)[1]) for name in ("ease", other)], "class_incremental")
    with pytest.raises(UserError, match="'ease' cannot learn domain_incremental streams"):
        check_method([("ease", find_plugin("ease")[1])], "domain_incremental")


def test_streams_of_other_kinds_are_learned_where_classes_do_not_come_back(
    make_stream: Any, scenario: Scenario
) -> None:
    for kind in ("cross_domain", "avalanche"):
        check_method([("ease", find_plugin("ease")[1])], kind)
    stream = make_stream(EASE(size=4), on=dataclasses.replace(scenario, kind="cross_domain"), loss="local")
    stream.run()
    assert stream.matrix.counts().of("class_incremental").accuracy[-1].mean() > 0.7
    again = dataclasses.replace(scenario.tasks[0], index=2)
    repeated = dataclasses.replace(scenario, kind="avalanche", tasks=(*scenario.tasks[:2], again))
    with pytest.raises(UserError, match="a class of the stream comes in several tasks"):
        make_stream(EASE(size=4), on=repeated).run()


def test_features_of_training_images_are_not_kept(learned: tuple[EASE, Any], scenario: Scenario) -> None:
    plugin, _ = learned
    for store in plugin._stores:
        assert store._number == sum(len(task.test) for task in scenario.tasks)
        assert all((store._places[torch.from_numpy(task.train)] < 0).all() for task in scenario.tasks)


def test_each_task_begins_with_a_new_head(make_stream: Any, scenario: Scenario) -> None:
    stream = make_stream(EASE(size=4), loss="local", head="cosine", head_scale=1.0)
    learner = stream.learner
    learner.start(scenario)
    learner.begin_task(scenario.tasks[0])
    with torch.no_grad():
        learner.head.scale.fill_(3.0)
    learner.begin_task(scenario.tasks[1])
    assert learner.head.scale.item() == 1.0
    assert learner.head.classes == 4
