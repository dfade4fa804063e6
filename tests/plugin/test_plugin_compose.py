"""What goes together, and what is refused before training, with the reason."""

from __future__ import annotations

import pytest

from clsuite.errors import UserError
from clsuite.plugin.catalog import find_plugin
from clsuite.plugin.compose import check_method
from clsuite.plugin.source import PluginSource, read_source


def real(*names: str) -> list[tuple[str, PluginSource]]:
    return [(name, find_plugin(name)[1]) for name in names]


def fake(name: str, *hooks: str, traits: str = "") -> tuple[str, PluginSource]:
    body = "".join(f"\n    def {hook}(self): ..." for hook in hooks)
    return name, read_source(f"class X:\n    traits = Traits({traits}){body}\n", "X")


@pytest.mark.parametrize(
    "names",
    [
        ("finetune",),
        ("ncm",),
        ("joint",),
        ("lwf", "replay"),
        ("replay", "lwf", "ewc"),
        ("linear_probe", "replay"),
        ("linear_probe", "joint"),
        ("first_session", "ranpac"),
        ("first_session", "fecam"),
        ("first_session", "ncm"),
    ],
)
def test_our_own_that_go_together(names: tuple[str, ...]) -> None:
    plugins = real(*names)
    assert check_method(plugins, "class_incremental") is None
    assert check_method(plugins[::-1], "domain_incremental") is None


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("joint", "replay"), "'joint' and 'replay' cannot be combined: joint training has all data already"),
        (("replay", "joint"), "'joint' and 'replay' cannot be combined: joint training has all data already"),
        (("joint", "ewc"), "'joint' and 'ewc' cannot be combined: .* nothing to keep"),
        (("joint", "lwf"), "'joint' and 'lwf' cannot be combined: .* nothing to keep"),
        (
            ("ncm", "replay"),
            "'ncm' and 'replay' cannot be combined: 'ncm' takes no gradient steps, "
            "so training_batch of 'replay' would never act",
        ),
        (("lwf", "ncm"), "'ncm' takes no gradient steps, so loss of 'lwf' would never act"),
        (("joint", "ncm"), "'ncm' takes no gradient steps, so training_rows of 'joint' would never act"),
        (("fpf", "ncm"), "'ncm' takes no gradient steps, so all of 'fpf' would never act"),
        (("ncm", "ranpac"), "'ncm' and 'ranpac' cannot be combined: both answer prediction"),
        (
            ("pet", "ranpac"),
            "'ranpac' and 'pet' cannot be combined: 'ranpac' takes no gradient steps, so the modules of 'pet' would "
            r"never be trained: to train some on the first task, write \[first_session, ranpac\]",
        ),
        (("fecam", "pet"), r"the modules of 'pet' would never be trained: .* write \[first_session, fecam\]"),
        (("pet", "ncm"), r"the modules of 'pet' would never be trained: .* write \[first_session, ncm\]"),
        (("block_expansion", "ncm"), r"the blocks of .* would never be trained: .* write \[first_session, ncm\]"),
        (("saft", "ranpac"), "there are no steps for the masks of 'saft' to act on"),
        (("wise_ft", "ncm"), "the weights of 'wise_ft' would never differ from the pre-trained ones"),
        (("lae", "s_pet"), r"'lae' and 's_pet' cannot be combined: both answer prediction \(predict\)"),
        (("kfpf", "replay"), "'kfpf' and 'replay' cannot be combined: k-FPF stands in for replay"),
        (("gdumb", "replay"), "'gdumb' and 'replay' cannot be combined: gdumb trains on its own exemplars alone"),
        (("gdumb", "pet"), "'gdumb' and 'pet' cannot be combined: gdumb starts anew .* modules of the last"),
        (("gdumb", "momentum"), "'gdumb' and 'momentum' cannot be combined: .* nothing to average"),
        (("gdumb", "slca"), "'gdumb' and 'slca' cannot be combined: .* statistics of older features"),
        (("gdumb", "saft"), "'gdumb' and 'saft' cannot be combined"),
        (("wise_ft", "pet"), "'wise_ft' and 'pet' cannot be combined: the backbone is frozen"),
        (("ease", "fpf"), "'ease' and 'fpf' cannot be combined: features are kept by image"),
        (("replay", "lwf", "replay"), r"method \[replay, lwf, replay\]: plugin 'replay' stands in it twice"),
    ],
)
def test_our_own_that_do_not(names: tuple[str, ...], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        check_method(real(*names), "class_incremental")


@pytest.mark.parametrize(
    ("second", "first"),
    [("ewc", "fpf"), ("slca", "fpf"), ("wise_ft", "fpf"), ("saft", "fpf"), ("ewc", "momentum"), ("saft", "momentum"),
     ("wise_ft", "momentum"), ("ewc", "slca")],
)  # fmt: skip
def test_what_works_on_the_weights_stands_before_what_stands_in_for_them(second: str, first: str) -> None:
    assert check_method(real(second, first), "class_incremental") is None
    with pytest.raises(UserError, match=rf"'{second}' must stand before '{first}', .*: write \[{second}, {first}\]"):
        check_method(real(first, second), "class_incremental")


def test_of_two_that_stand_in_the_one_that_keeps_weights_comes_first() -> None:
    assert check_method(real("momentum", "fpf"), "class_incremental") is None
    with pytest.raises(UserError, match=r"write \[momentum, fpf\]"):
        check_method(real("fpf", "momentum"), "class_incremental")


def test_two_that_predict() -> None:
    plugins = [fake("one", "predict"), fake("between", "loss"), fake("two", "predict")]
    with pytest.raises(UserError, match=r"'one' and 'two' cannot be combined: both answer prediction \(predict\)"):
        check_method(plugins, "class_incremental")


def test_two_that_give_parameter_groups() -> None:
    plugins = [fake("one", "parameter_groups"), fake("two", "parameter_groups")]
    with pytest.raises(UserError, match=r"the optimiser's parameter groups \(parameter_groups\)"):
        check_method(plugins, "class_incremental")


def test_one_predicts_and_another_gives_parameter_groups() -> None:
    plugins = [fake("one", "predict"), fake("two", "parameter_groups")]
    assert check_method(plugins, "class_incremental") is None


@pytest.mark.parametrize("hook", ["loss", "training_batch", "training_rows", "on_task_start", "on_task_end"])
def test_hooks_that_add_are_for_any_number(hook: str) -> None:
    plugins = [fake(name, hook) for name in ("one", "two", "three")]
    assert check_method(plugins, "class_incremental") is None


@pytest.mark.parametrize("hook", ["loss", "training_batch", "training_rows", "parameter_groups"])
def test_what_trains_does_not_go_with_what_takes_no_steps(hook: str) -> None:
    plugins = [fake("one", hook), fake("still", traits="gradient_free=True")]
    with pytest.raises(UserError, match=f"'still' takes no gradient steps, so {hook} of 'one' would never act"):
        check_method(plugins, "class_incremental")


def test_what_takes_no_steps_goes_with_what_only_watches() -> None:
    plugins = [fake("watcher", "on_task_end"), fake("still", "predict", traits="gradient_free=True")]
    assert check_method(plugins, "class_incremental") is None


def test_a_hook_can_be_forbidden() -> None:
    forbidding = fake("calm", traits="forbids={'loss': 'it has a loss of its own'}")
    with pytest.raises(UserError, match="'calm' and 'loud' cannot be combined: it has a loss of its own"):
        check_method([fake("loud", "loss"), forbidding], "class_incremental")


def test_what_a_plugin_forbids_others_it_may_do_itself() -> None:
    alone = fake("calm", "loss", traits="stores=('logits',), forbids={'loss': 'mine', 'logits': 'mine'}")
    assert check_method([alone, fake("other", "training_batch")], "class_incremental") is None


def test_streams_that_a_plugin_cannot_learn() -> None:
    plugins = [fake("one"), fake("shy", traits="scenarios=('class_incremental',)")]
    assert check_method(plugins, "class_incremental") is None
    with pytest.raises(UserError, match="'shy' cannot learn domain_incremental streams, only class_incremental"):
        check_method(plugins, "domain_incremental")
