"""What methods bring of their papers: training, scores, defaults by the kind of module, parts of a cut stream."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from clsuite.errors import UserError
from clsuite.learner.options import TrainingSpec
from clsuite.plugin.arguments import resolve_arguments
from clsuite.plugin.catalog import find_plugin, load_class
from clsuite.runner.training import resolve_training
from clsuite.scenarios import Scenario
from clsuite_plugins.aper import APER
from clsuite_plugins.coda_prompt import CodaPrompt
from clsuite_plugins.ease import EASE
from clsuite_plugins.lae import LAE
from clsuite_plugins.s_pet import SPet

COSINE = {"head": "cosine", "head_scale": 1.0, "head_init": "uniform"}
TRAINING: dict[str, dict[str, Any]] = {
    "pet": {"loss": "local"},
    "lae": {"loss": "local", "head_init": 0.001, "epochs": 5},
    "l2p": {"loss": "local", "head_init": 0.0},
    "dual_prompt": {"loss": "local", "head_init": 0.0},
    "coda_prompt": {"loss": "local", "head_init": "uniform"},
    "s_pet": {"loss": "local", "head_init": "uniform"},
    "ease": {"loss": "local", **COSINE},
    "aper": COSINE,
    "first_session": COSINE,
}
KINDS = {
    "pet": "kind",
    "aper": "kind",
    "first_session": "kind",
    "lae": "pet",
    "l2p": "pet",
    "s_pet": "pet",
    "ease": "pet",
}


@pytest.mark.parametrize("name", TRAINING)
def test_a_method_written_bare_is_trained_as_its_paper_does(name: str) -> None:
    plugin = (name, find_plugin(name)[1])
    training = resolve_training(TrainingSpec(), [plugin], {}, {})
    assert {key: getattr(training, key) for key in TRAINING[name]} == TRAINING[name]


def test_scores_that_are_no_logits_are_declared() -> None:
    scores = {name: find_plugin(name)[1].traits.scores for name in TRAINING}
    assert {name: kind for name, kind in scores.items() if kind != "logits"} == {
        "lae": "probabilities",
        "ease": "cosine",
        "aper": "cosine",
    }


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("pet", {}, {"size": 8, "blocks": "all", "targets": "q+v"}),
        ("pet", {"kind": "adapter"}, {"size": 5, "blocks": "all", "targets": None}),
        ("pet", {"kind": "prompt", "size": 3}, {"size": 3, "blocks": "all"}),
        ("lae", {}, {"size": 5, "blocks": "0-4"}),
        ("lae", {"pet": "prefix"}, {"size": 10, "blocks": "0-4"}),
        ("l2p", {}, {"size": 10, "blocks": "0", "top_k": 4, "similarity": 1.0, "prompt_init": "unit"}),
        ("l2p", {"pet": "lora"}, {"size": 1, "blocks": "all", "top_k": 5, "similarity": 0.1, "targets": "q+v"}),
        ("s_pet", {}, {"size": 10, "blocks": "0", "classifier": "own", "prompt_init": "linear"}),
        ("s_pet", {"pet": "lora"}, {"size": 1, "blocks": "all", "targets": "q+v"}),
        ("aper", {"kind": "prompt"}, {"size": 5}),
        ("first_session", {"kind": "prompt"}, {"size": 5}),
        ("first_session", {"kind": "lora"}, {"size": 8, "targets": "q+v"}),
        ("first_session", {"kind": "full"}, {"size": None, "blocks": None}),
        ("ease", {"pet": "prompt"}, {"size": 5, "blocks": "all"}),
    ],
)
def test_sizes_and_places_follow_the_kind_of_module_in_the_record(name: str, given: Any, expected: Any) -> None:
    resolved = resolve_arguments(name, find_plugin(name)[1], given)
    assert {key: resolved[key] for key in expected} == expected
    load_class(find_plugin(name)[0])(**resolved)  # what a record holds makes the same method


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("pet", {"kind": "lorra"}, "argument 'kind' of plugin 'pet' is 'lorra', but must be .* Did you mean 'lora'"),
        ("pet", {"kind": "prompt", "targets": "q"}, "'pet' has no use for targets where kind is prompt: leave it out"),
        ("pet", {"kind": "ia3", "alpha": 2.0}, "'pet' has no use for alpha where kind is ia3"),
        ("l2p", {"pet": "lora", "head_input": "prompts"}, "'l2p' has no use for head_input where pet is lora"),
        ("first_session", {"kind": "full", "size": 3}, "has no use for size where kind is full"),
    ],
)
def test_what_a_kind_has_no_use_for_is_refused_before_training(name: str, given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve_arguments(name, find_plugin(name)[1], given)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_that_is_documented_is_accepted_and_no_other(name: str) -> None:
    info, source = find_plugin(name)
    text = load_class(info).__doc__ or ""
    for kind in source.traits.defaults_by[KINDS[name]]:
        assert f"``{kind}``" in text, kind
        resolve_arguments(name, source, {KINDS[name]: kind})


def test_lae_that_would_rest_in_every_epoch_is_refused(make_stream: Any, scenario: Scenario) -> None:
    with pytest.raises(UserError, match=r"rests in the first 3 epochs, and training.epochs is 3: it would never learn"):
        make_stream(LAE(blocks="all"), epochs=3, loss="local").run()
    make_stream(LAE(blocks="all"), epochs=1, on=scenario.first(1)).learner.start(scenario.first(1))


def test_lae_of_one_task_answers_the_same_after_loading(make_stream: Any, scenario: Scenario) -> None:
    from clsuite.conformance.fixtures import without_data
    from clsuite.runner.model_file import TrainedModel
    from clsuite.stream.checkpoint import learner_state, load_learner_state

    one = scenario.first(1)
    stream = make_stream(LAE(blocks="all"), epochs=4, loss="local", on=one)
    stream.run()
    loaded = make_stream(LAE(blocks="all"), epochs=4, loss="local", on=one).learner
    loaded.start(without_data(one))
    load_learner_state(loaded, learner_state(stream.learner, 1))
    images = scenario.table.images[scenario.tasks[0].test]
    now, then = (TrainedModel(learner, one.classes).logits(images) for learner in (stream.learner, loaded))
    assert torch.equal(now, then)


def test_lae_answers_finite_numbers_for_hopeless_classes(make_stream: Any, scenario: Scenario) -> None:
    plugin = LAE(blocks="all")
    learner = make_stream(plugin).learner
    learner.start(scenario.first(1))
    learner.begin_task(scenario.tasks[0])
    learner.head.forward = lambda features: torch.tensor([[0.0, 500.0]]).expand(len(features), 2)
    batch = type("Batch", (), {"images": torch.zeros(3, 3, 32, 32)})()
    assert torch.isfinite(plugin.predict(learner, batch)).all()  # type: ignore[arg-type]


def test_codas_share_follows_the_whole_stream(make_stream: Any, scenario: Scenario) -> None:
    shares = []
    for stream in (scenario, scenario.first(2), scenario.first(1)):
        plugin = CodaPrompt(components=9, length=2, blocks="all")
        make_stream(plugin, on=stream).learner.start(stream)
        shares.append(plugin._share)
    assert shares == [3, 3, 3]


def test_a_model_of_a_cut_stream_is_loaded_with_the_parts_of_the_whole_one(scenario: Scenario) -> None:
    from clsuite.conformance.fixtures import without_data
    from clsuite.runner.model_file import _without_data

    cut = scenario.first(2)
    entry = SimpleNamespace(
        kind=cut.kind, classes=cut.classes, class_names=None, task_names=["a", "b"], task_fingerprints=["", ""]
    )
    state = {
        "image_shape": [3, 32, 32],
        "domains": [],
        "task_classes": [list(task.classes) for task in cut.tasks],
        "planned_tasks": cut.planned_tasks,
    }
    loaded = _without_data(SimpleNamespace(scenario=entry), state)  # type: ignore[arg-type]
    assert loaded.planned_tasks == without_data(cut).planned_tasks == 3


def test_a_search_on_the_first_tasks_cuts_the_stream_the_same_way() -> None:
    from clsuite.runner.spec import load_benchmark
    from clsuite.runner.streams import find_stream_file, stream_loader

    spec, folder = load_benchmark("quickstart")
    load = stream_loader(spec.dataset, find_stream_file(spec.scenario, [folder]), spec.backbone.image_size, None)
    assert (len(load(0, 3).tasks), load(0, 3).planned_tasks, load(0, None).planned_tasks) == (3, 5, 5)


@pytest.mark.parametrize("make", [lambda: EASE(size=4), lambda: APER(size=4)])
def test_classes_without_prototype_stand_below_all_and_are_finite(
    make: Any, make_stream: Any, scenario: Scenario
) -> None:
    plugin = make()
    stream = make_stream(plugin, **COSINE, loss="local")
    stream.run()
    missing = [0, 3]
    if isinstance(plugin, EASE):
        plugin._owners[missing] = -1
    else:
        plugin._numbers[missing] = 0
        plugin._sums[missing] = 0
    from clsuite.runner.model_file import TrainedModel

    answers = TrainedModel(stream.learner, scenario.classes).logits(scenario.table.images[scenario.tasks[0].test])
    assert torch.isfinite(answers).all()
    others = [label for label in range(6) if label not in missing]
    assert (answers[:, missing].amax(dim=1) < answers[:, others].amin(dim=1)).all()


def domains(scenario: Scenario) -> Scenario:
    """Two tasks of the same two classes, which are other digits in each."""
    table = scenario.table
    first, second = scenario.tasks[0], scenario.tasks[1]
    labels = scenario.labels.copy()
    for label in (2, 3):
        labels[scenario.labels == label] = label - 2
    tasks = (first, dataclasses.replace(second, classes=(0, 1)))
    return Scenario("domain_incremental", table, labels, scenario.classes[:2], tasks)


@pytest.mark.slow
def test_each_session_answers_with_its_own_classifier(make_stream: Any, scenario: Scenario) -> None:
    accuracy = {}
    for classifier in ("own", "shared"):
        stream = make_stream(SPet(classifier=classifier), on=domains(scenario), epochs=5, loss="local")
        stream.run()
        accuracy[classifier] = stream.matrix.counts().of("class_incremental").accuracy[-1]
    assert accuracy["own"].min() > 0.8
    assert accuracy["own"][0] >= accuracy["shared"][0]  # of the session whose classifier the last one overwrites


def test_a_fresh_classifier_begins_anew_and_the_last_is_carried_on(make_stream: Any, scenario: Scenario) -> None:
    for start in ("fresh", "last"):
        stream = make_stream(plugin := SPet(head_start=start), on=domains(scenario), loss="local")
        learner = stream.learner
        learner.start(stream.scenario)
        learner.begin_task(stream.scenario.tasks[0])
        before = learner.head.groups[0].weight.detach().clone()
        learner.begin_task(stream.scenario.tasks[1])
        assert torch.equal(learner.head.groups[0].weight, before) == (start == "last")
        assert len(plugin.modules) == 2


@pytest.mark.parametrize(("distance", "nearest"), [("euclidean", 1), ("manhattan", 0)])
def test_the_distance_to_centroids_is_chosen(distance: Any, nearest: int, make_stream: Any, scenario: Scenario) -> None:
    plugin = SPet(distance=distance)
    stream = make_stream(plugin, on=scenario.first(2), loss="local")
    stream.run()
    query = torch.zeros(1, 192)
    query[0, :2] = torch.tensor([0.6, 0.8])
    centroids = query.repeat(2, 1)
    centroids[0, 0] += 0.5  # near by one large step, or far by many small ones
    centroids[1] += 0.03
    plugin._centroids, plugin._owners = centroids, torch.tensor([0, 1])
    plugin._query.of_batch = lambda batch: query  # type: ignore[method-assign]
    unknown = torch.full((1,), -1)
    from clsuite.data.batch import Batch

    with torch.no_grad():
        answer = plugin.predict(stream.learner.eval(), Batch(torch.zeros(1, 3, 32, 32), unknown, unknown, unknown > 0))
    assert int(answer.argmax()) in scenario.tasks[nearest].classes
    assert np.isfinite(answer.numpy()).all()
