"""First-session adaptation: trained once, frozen afterwards, classified by others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import find_plugin
from clsuite.plugin.compatibility import check_method
from clsuite_plugins.fecam import FeCAM
from clsuite_plugins.first_session import FirstSession
from clsuite_plugins.lda import LDA
from clsuite_plugins.ncm import NCM
from clsuite_plugins.ranpac import RanPAC


class Look(Plugin):
    def __init__(self) -> None:
        super().__init__()
        self.modules: list[dict[str, torch.Tensor]] = []

    def _look(self, learner: Learner) -> None:
        self.modules.append({name: value.clone() for name, value in learner.plugin_modules.state_dict().items()})

    def on_stream_start(self, learner: Learner, scenario: Any) -> None:
        self._look(learner)

    def on_task_end(self, learner: Learner, task: Any) -> None:
        self._look(learner)


def test_only_the_first_task_moves_the_module(make_stream: Any) -> None:
    look = Look()
    stream = make_stream(FirstSession(size=4), look, RanPAC(projection=300))
    before = {name: value.clone() for name, value in stream.learner.backbone.state_dict().items()}
    stream.run()
    start, first, *later = look.modules
    assert any(not torch.equal(first[name], value) for name, value in start.items())
    for state in later:
        assert all(torch.equal(first[name], value) for name, value in state.items())
    assert all(torch.equal(before[name], value) for name, value in stream.learner.backbone.state_dict().items())
    assert stream.tasks[0].steps > 0
    assert [task.steps for task in stream.tasks[1:]] == [0, 0]
    assert not any(parameter.requires_grad for parameter in stream.learner.parameters())
    assert stream.matrix.counts().of("class_incremental").accuracy[-1].mean() > 0.85


def test_later_images_pass_the_network_once(make_stream: Any) -> None:
    stream = make_stream(FirstSession(size=4), epochs=2)
    seen: list[int] = []

    def count(module: Any, given: Any, output: torch.Tensor) -> None:
        task = stream.learner.task
        if task is not None and task.index == 2:
            seen.append(len(output))

    stream.learner.backbone.register_forward_hook(count)
    stream.run()
    last = stream.scenario.tasks[2]
    assert sum(seen) == len(last.train) + len(last.test)
    assert stream.tasks[2].steps > 0


def test_what_may_stand_beside_it() -> None:
    def check(*names: str) -> None:
        check_method([(name, find_plugin(name)[1]) for name in names], "class_incremental")

    for name in ("ncm", "ranpac", "fecam"):
        check("first_session", name)
    with pytest.raises(UserError, match="both freeze the backbone"):
        check("first_session", "pet")
    with pytest.raises(UserError, match="takes no gradient steps"):
        check("replay", "ranpac")


def test_the_classifier_comes_after_it(make_stream: Any) -> None:
    with pytest.raises(UserError, match="must come before"):
        make_stream(NCM(), FirstSession(size=4)).run()


@pytest.mark.parametrize("classifiers", [(), (NCM(),), (LDA(),), (FeCAM(),), (RanPAC(projection=50),)])
def test_the_whole_backbone_is_tuned_on_the_first_task_alone(classifiers: Sequence[Plugin], make_stream: Any) -> None:
    bodies: list[dict[str, torch.Tensor]] = []

    class Body(Plugin):
        def on_task_end(self, learner: Learner, task: Any) -> None:
            bodies.append({name: value.clone() for name, value in learner.backbone.state_dict().items()})

    plugin = FirstSession(kind="full")
    stream = make_stream(plugin, *classifiers, Body())
    before = {name: value.clone() for name, value in stream.learner.backbone.state_dict().items()}
    stream.run()
    assert sum(not torch.equal(before[name], value) for name, value in bodies[0].items()) > 20
    for later in bodies[1:]:
        assert all(torch.equal(bodies[0][name], value) for name, value in later.items())
    assert [task.frozen for task in stream.tasks] == [False, True, True]
    assert plugin.stored_bytes() == {}


def test_classes_are_classified_by_what_the_whole_backbone_learned(make_stream: Any) -> None:
    stream = make_stream(FirstSession(kind="full"), ncm := NCM())
    stream.run()
    learner = stream.learner
    learner.store.clear()
    rows = stream.scenario.tasks[0].train
    features, labels = learner.features_of(rows), learner.labels_of(rows)
    for label in labels.unique().tolist():
        torch.testing.assert_close(ncm._sums[label], features[labels == label].sum(dim=0), rtol=1e-4, atol=1e-3)


def test_the_whole_backbone_with_a_classifier_of_its_features_resumes_the_same(make_stream: Any, tmp_path: Any) -> None:
    whole = make_stream(FirstSession(kind="full"), NCM())
    whole.run()
    first = make_stream(FirstSession(kind="full"), NCM(), checkpoint=tmp_path / "state.ckpt")
    end = first.learner.end_task

    def stop(task: Any) -> None:
        if task.index == 2:
            raise KeyboardInterrupt
        end(task)

    first.learner.end_task = stop
    with pytest.raises(KeyboardInterrupt):
        first.run()
    again = make_stream(FirstSession(kind="full"), NCM(), checkpoint=tmp_path / "state.ckpt")
    again.run()
    assert (again.matrix.class_incremental == whole.matrix.class_incremental).all()
    assert [task.steps > 0 for task in again.tasks] == [True, False, False]


@pytest.mark.parametrize("kind", ["ssf", "prompt"])
def test_other_kinds_are_tuned_too(kind: Any, make_stream: Any) -> None:
    look = Look()
    make_stream(FirstSession(kind=kind), look, NCM()).run()
    assert any(not torch.equal(look.modules[1][name], value) for name, value in look.modules[0].items())
    assert all(torch.equal(look.modules[1][name], value) for name, value in look.modules[-1].items())
