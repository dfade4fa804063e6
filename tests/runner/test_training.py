"""A method brings its training; what is said of this one method, or on the command line, wins; the key holds it all."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from clsuite.backbones.spec import BackboneSpec
from clsuite.errors import UserError
from clsuite.learner.options import TrainingSpec
from clsuite.plugin.catalog import find_plugin
from clsuite.plugin.introspection import PluginSource
from clsuite.plugin.traits import Traits
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import make_plan
from clsuite.runner.requirements import check_classes, check_needs
from clsuite.runner.resolve import method_config
from clsuite.runner.spec import BenchmarkSpec
from clsuite.runner.training import brought_training, read_settings, resolve_training
from clsuite.scenarios import Scenario

PLUGIN = '''
from clsuite.plugin import Plugin, Traits

class {name}(Plugin):
    """A method."""

    traits = Traits(training={training!r})
'''


def named(name: str, **training: Any) -> tuple[str, PluginSource]:
    return name, PluginSource("", (), Traits(training=training), frozenset(), "")


def resolved(*plugins: Any, own: Any = None, given: Any = None, **base: Any) -> TrainingSpec:
    return resolve_training(TrainingSpec(**base), plugins, own or {}, given or {})


def test_each_layer_stands_in_place_of_the_one_before() -> None:
    slca = named("slca", loss="local", optimizer={"name": "sgd", "momentum": 0.8})
    training = resolved(slca, epochs=3, optimizer={"lr": 0.1, "weight_decay": 0.2})
    assert (training.loss, training.epochs) == ("local", 3)
    assert training.optimizer.model_dump() == {
        "name": "sgd", "lr": 0.1, "head_lr": None, "weight_decay": 0.2, "momentum": 0.8,
    }  # fmt: skip
    assert resolved(slca, own={"loss": "global"}).loss == "global"
    assert resolved(slca, own={"loss": "global"}, given={"loss": "local"}).loss == "local"
    assert resolved(slca).head_init == 0.001


def test_two_that_need_different_values_are_refused_unless_it_is_said() -> None:
    pair = named("ease", head="cosine"), named("other", head="linear")
    with pytest.raises(UserError, match=r"'ease' needs training\.head: cosine and 'other' needs linear: choose one"):
        resolved(*pair)
    assert resolved(*pair, own={"head": "cosine"}).head == "cosine"
    assert resolved(*pair, given={"head": "linear"}).head == "linear"
    assert resolved(named("a", loss="local"), named("b", loss="local")).loss == "local"


def test_what_plugins_bring_is_told_but_for_what_is_said() -> None:
    plugin = named("slca", loss="local", optimizer={"name": "sgd"})
    assert brought_training([plugin], {}, {}) == {"loss": "local", "optimizer.name": "sgd"}
    assert brought_training([plugin], {"optimizer": {"name": "adam"}}, {}) == {"loss": "local"}


def test_a_mistake_in_traits_names_the_plugin() -> None:
    with pytest.raises(UserError, match=r"training key of plugin 'bad': 'los'\. Did you mean 'loss'"):
        resolved(named("bad", los="local"))


def test_settings_are_read_as_people_write_them() -> None:
    assert read_settings("loss=local, optimizer.lr=0.003,optimizer.name=sgd") == {
        "loss": "local",
        "optimizer": {"lr": 0.003, "name": "sgd"},
    }
    assert read_settings("") == {}
    for bad in ("loss", "=3", "loss=local=global", "a b=1", "lr=1+x("):
        with pytest.raises(UserError, match="write KEY=VALUE"):
            read_settings(bad)


@pytest.fixture
def planned(tmp_path: Path) -> Any:
    def plan(method: str, *, name: str = "m", training: str = "", scenario: Any = None) -> Any:
        spec = BenchmarkSpec.model_validate(
            {
                "name": "b",
                "dataset": {"name": "digits"},
                "scenario": scenario or {"tasks": 5},
                "methods": {name: method},
            }
        )
        options = RunOptions(out=tmp_path / "runs", seeds=[0], training=read_settings(training))
        return make_plan(spec, tmp_path, options)[0]

    return plan


def test_what_a_method_brings_is_in_record_and_key(planned: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN.format(name="Mine", training={"loss": "local"}))
    local = planned(str(file))
    assert local.pending.config["training"]["loss"] == "local"
    assert local.brought == {"loss": "local"}
    file.write_text(PLUGIN.format(name="Mine", training={"loss": "global"}))
    assert planned(str(file)).pending.key != local.pending.key
    assert planned(str(file), training="loss=local").pending.config["training"]["loss"] == "local"


def test_first_values_are_in_record_and_key(planned: Any) -> None:
    plans = [
        planned("finetune", training=text) for text in ("", "head_init=0.02", "head_init=uniform", "head_init=0.001")
    ]
    assert [plan.pending.config["training"]["head_init"] for plan in plans] == [0.001, 0.02, "uniform", 0.001]
    assert len({plan.pending.key for plan in plans}) == 3


def test_method_config_says_what_the_record_says(planned: Any) -> None:
    spec = BenchmarkSpec.model_validate({"name": "b", "methods": {"f": "finetune"}, "dataset": {"name": "digits"}})
    assert method_config(spec, "f")[1] == planned("finetune").pending.config["training"]


ONE_CLASS = {"kind": "class_incremental", "tasks": 10}


@pytest.mark.parametrize("method", ["finetune", "replay", "lwf", "pet"])
def test_one_class_under_a_local_loss_is_refused(planned: Any, method: str) -> None:
    with pytest.raises(
        UserError, match=r"task 0 \(.*\) has one class, .* its loss is exactly 0 and nothing is learned"
    ):
        planned(method, training="loss=local", scenario=ONE_CLASS)
    planned(method, training="loss=global", scenario=ONE_CLASS)


def test_one_lonely_class_is_enough_and_gradient_free_methods_do_not_care(planned: Any) -> None:
    with pytest.raises(UserError, match=r"task 1 \(.*\) has one class"):
        planned("finetune", training="loss=local", scenario={"kind": "class_incremental", "first_task": 6, "tasks": 5})
    planned("ncm", training="loss=local", scenario=ONE_CLASS)
    with pytest.raises(UserError, match=r"task 0 \(.*\) has one class"):
        planned("first_session+ncm", training="loss=local", scenario=ONE_CLASS)


@pytest.mark.parametrize("method", ["first_session+ncm", "first_session+lda", "aper"])
def test_a_first_session_of_one_class_trains_nothing_and_is_refused(planned: Any, method: str) -> None:
    name = method.partition("+")[0]
    with pytest.raises(
        UserError, match=rf"task 0 \(.*\) has one class, and '{name}' trains on this task alone, .* 0 and"
    ):
        planned(method, training="loss=global", scenario=ONE_CLASS)
    planned(method, training="loss=global", scenario={**ONE_CLASS, "first_task": 2, "tasks": 9})


def test_a_single_task_may_not_have_a_local_loss_where_the_benchmark_may_not(scenario: Scenario) -> None:
    first, second, third = scenario.tasks
    alone = dataclasses.replace(second, classes=second.classes[:1])
    stream, plugins = dataclasses.replace(scenario, tasks=(first, alone, third)), [named("mine")]
    check_classes("m", plugins, TrainingSpec(by_task={first.name: {"loss": "local"}}), stream)
    with pytest.raises(UserError, match=r"^method 'm': task 1 \(.*\) has one class, .* nothing is learned"):
        check_classes("m", plugins, TrainingSpec(by_task={second.name: {"loss": "local"}}), stream)
    check_classes("m", plugins, TrainingSpec(loss="local", by_task={second.name: {"loss": "global"}}), stream)


def test_who_has_all_data_trains_no_single_task_with_a_local_loss() -> None:
    joint = [("joint", find_plugin("joint")[1])]
    check_needs(joint, BackboneSpec(), TrainingSpec(by_task={"a": {"epochs": 2}}))
    with pytest.raises(UserError, match=r"plugin 'joint' needs training\.loss: global"):
        check_needs(joint, BackboneSpec(), TrainingSpec(by_task={"a": {"loss": "local"}}))


def test_inputs_between_0_and_1_can_be_asked_for(tmp_path: Path) -> None:
    base = {"name": "b", "dataset": {"name": "digits"}, "methods": {"f": "finetune"}}
    plans = [
        make_plan(BenchmarkSpec.model_validate({**base, "backbone": backbone}), tmp_path, RunOptions(out=tmp_path))[0]
        for backbone in ({}, {"normalization": "none"})
    ]
    assert [plan.pending.config["backbone"]["normalization"] for plan in plans] == ["pretrained", "none"]
    assert plans[0].pending.key != plans[1].pending.key


def test_how_often_the_state_is_saved_is_in_no_record_and_no_key(tmp_path: Path) -> None:
    spec = BenchmarkSpec.model_validate(
        {"name": "tiny", "dataset": {"name": "digits"}, "scenario": {"tasks": 5}, "methods": {"finetune": "finetune"}}
    )
    options = RunOptions(out=tmp_path, seeds=[0])
    (plain,) = make_plan(spec, tmp_path, options)
    (saved,) = make_plan(spec, tmp_path, options.model_copy(update={"training": {"checkpoint_minutes": 10}}))
    assert (plain.checkpoint_minutes, saved.checkpoint_minutes) == (None, 10)
    assert saved.pending == plain.pending
    assert "checkpoint_minutes" not in saved.pending.config["training"]
    with pytest.raises(UserError, match="checkpoint_minutes"):
        make_plan(spec, tmp_path, options.model_copy(update={"training": {"checkpoint_minutes": 0}}))
