"""Parameters of another plugin by what they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clsuite.data.batch import Batch
from clsuite.errors import UserError
from clsuite.learner.learner import Learner, Step
from clsuite.peft import PET_KINDS, build_pet
from clsuite.plugin import Plugin, Traits
from clsuite.plugin.catalog import catalog, load_class
from clsuite.plugin.compatibility import check_method
from clsuite.plugin.hooks import ROLES
from clsuite.plugin.introspection import PluginSource, read_source
from clsuite_plugins.pet import Pet

WORKER = """from clsuite.plugin import Plugin, Traits


class Worker(Plugin):
    traits = Traits(works_on=("prompts",))

    def on_task_end(self, learner, task):
        learner.parameters_of("prompts")
"""


class Holds(Plugin):
    """Gradient projection in its simplest form: the prompts of another plugin do not move along some directions."""

    traits = Traits(works_on=("prompts",))

    def on_task_start(self, learner: Learner, task: Any) -> None:
        self.start = {name: value.detach().clone() for name, value in learner.parameters_of("prompts").items()}

    def transform_update(self, learner: Learner, updates: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        names = learner.parameters_of("prompts").keys() & updates.keys()
        return {
            name: torch.cat([torch.zeros_like(updates[name][..., :4]), updates[name][..., 4:]], -1) for name in names
        }

    def on_task_end(self, learner: Learner, task: Any) -> None:
        for name, value in learner.parameters_of("prompts").items():
            assert torch.equal(value[..., :4], self.start[name][..., :4])
            assert not torch.equal(value[..., 4:], self.start[name][..., 4:])


def test_a_plugin_works_on_the_prompts_of_another(make_stream: Any) -> None:
    make_stream(load_class(catalog()["pet"])(kind="prompt", size=2), Holds()).run()


def test_each_kind_of_module_has_the_role_that_compositions_are_checked_by(make_stream: Any) -> None:
    model = make_stream().learner.backbone.model
    assert ROLES.keys() == set(PET_KINDS)
    for kind in PET_KINDS:
        module = build_pet(kind, model, size=2, blocks="all", generator=torch.Generator())  # type: ignore[arg-type]
        assert module.role == ROLES[kind]


def test_roles_are_those_of_the_modules_or_what_a_plugin_says(make_stream: Any) -> None:
    class Keys(Plugin):
        def on_stream_start(self, learner: Learner, scenario: Any) -> None:
            learner.register_plugin_module(self, "keys", nn.Linear(2, 3), role="keys")

    stream = make_stream(Pet(kind="lora", size=2), Keys())
    learner = stream.learner
    learner.start(stream.scenario)
    learner.begin_task(stream.scenario.tasks[0])
    named = dict(learner.named_parameters())
    roles = {role: learner.parameters_of(role) for role in ("backbone", "head", "lora", "keys")}
    assert [len(roles["keys"]), len(roles["head"])] == [2, 2]
    assert sum(map(len, roles.values())) == len(named)
    assert all(named[name] is value for values in roles.values() for name, value in values.items())
    with pytest.raises(UserError, match="brought 'prompts'; there are: backbone, head, keys, lora"):
        learner.parameters_of("prompts")


class Behind(Plugin):
    """A trained layer behind a frozen backbone."""

    traits = Traits(memory=("modules",))

    def __init__(self, role: str | None = "features") -> None:
        super().__init__()
        self.role = role

    def on_stream_start(self, learner: Learner, scenario: Any) -> None:
        learner.backbone.requires_grad_(False)
        self.layer = nn.Linear(learner.backbone.width, learner.backbone.width)
        nn.init.eye_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)
        learner.register_plugin_module(self, "layer", self.layer, role=self.role)

    def classification(self, learner: Learner, step: Step) -> Tensor | None:
        return nn.functional.cross_entropy(learner.head(self.layer(step.features)), step.batch.labels)

    def predict(self, learner: Learner, batch: Batch) -> Tensor | None:
        return learner.head(self.layer(learner.encode(batch)))[:, : learner.seen]


@pytest.mark.slow
def test_a_layer_behind_a_frozen_backbone_learns_from_features_that_are_looked_up(make_stream: Any) -> None:
    passed, ends = {}, {}
    for role in ("features", None):
        stream, seen = make_stream(Behind(role), epochs=3), list[int]()
        stream.learner.backbone.register_forward_hook(lambda _, given, out, seen=seen: seen.append(len(out)))
        stream.run()
        passed[role], ends[role] = sum(seen), stream.learner.plugins[0].layer.weight.detach()
        assert [task.frozen for task in stream.tasks] == [role == "features"] * 3
    assert not torch.equal(ends["features"], torch.eye(len(ends["features"])))
    torch.testing.assert_close(ends["features"], ends[None], atol=1e-4, rtol=1e-3)
    tasks = stream.scenario.tasks
    assert passed["features"] == len(tasks[0].test) + sum(len(task.train) + len(task.test) for task in tasks)
    assert passed[None] > passed["features"]


def source_of(name: str) -> PluginSource:
    source = catalog()[name].source
    assert source is not None
    return source


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        (["finetune", "worker"], {}, "'worker' works on prompts, but no plugin of the method has any"),
        (["pet", "worker"], {"kind": "lora"}, "'worker' works on prompts, but no plugin of the method has any"),
        (["worker", "dual_prompt"], {}, r"works on the prompts of 'dual_prompt': write \[dual_prompt, worker\]"),
        (["pet", "worker"], {"kind": "prompt"}, None),
        (["dual_prompt", "worker"], {}, None),
    ],
)
def test_a_method_without_them_is_refused(
    method: list[str], arguments: dict[str, str], message: str | None, tmp_path: Path
) -> None:
    sources = {"worker": read_source(WORKER, "Worker")}
    plugins = [(name, sources.get(name) or source_of(name)) for name in method]
    given = [arguments if name == "pet" else {} for name in method]
    if message is None:
        check_method(plugins, "class_incremental", given)
        return
    with pytest.raises(UserError, match=message):
        check_method(plugins, "class_incremental", given)
