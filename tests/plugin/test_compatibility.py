"""What goes together, and what is refused before training, with the reason."""

from __future__ import annotations

from typing import Any

import pytest

from clsuite.errors import UserError
from clsuite.plugin.catalog import find_plugin
from clsuite.plugin.compatibility import check_method
from clsuite.plugin.introspection import PluginSource, read_source
from clsuite.scenarios.catalog import KINDS, SINGLE_PASS


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
            "so transform_batch of 'replay' would have no effect",
        ),
        (("lwf", "ncm"), "'ncm' takes no gradient steps, so loss of 'lwf' would have no effect"),
        (("joint", "ncm"), "'ncm' takes no gradient steps, so select_indices of 'joint' would have no effect"),
        (("fpf", "ncm"), "'ncm' takes no gradient steps, so all of 'fpf' would have no effect"),
        (("gem", "ncm"), "'ncm' takes no gradient steps, so on_after_backward of 'gem' would have no effect"),
        (("wa", "backdoor"), "'wa' and 'backdoor' cannot be combined: there is one old model to distill"),
        (("backdoor", "er_aml"), "'er_aml' and 'backdoor' cannot be combined: .* by the features of one network"),
        (("backdoor", "spu"), "'spu' and 'backdoor' cannot be combined: pairs are those of .* one network"),
        (("hft", "spu"), "'spu' and 'hft' cannot be combined: .* of which another freezing may leave nothing"),
        (("wa", "momentum"), "'wa' and 'momentum' cannot be combined: the head that is aligned would not be .*"),
        (("bic", "momentum"), "'bic' and 'momentum' cannot be combined: the correction would not belong to"),
        (("foster", "momentum"), "'foster' and 'momentum' cannot be combined: its two rounds train different networks"),
        (("foster", "lwf"), "'foster' and 'lwf' cannot be combined: boosting trains two classifiers of its own"),
        (("foster", "gem"), "'foster' and 'gem' cannot be combined: boosting does not train the head"),
        (("foster", "mir"), "'foster' and 'mir' cannot be combined: boosting does not train the head"),
        (("ncm", "ranpac"), "'ncm' and 'ranpac' cannot be combined: both answer prediction"),
        (
            ("pet", "ranpac"),
            "'ranpac' and 'pet' cannot be combined: 'ranpac' takes no gradient steps, so the modules of 'pet' would "
            r"never be trained: to train some on the first task, write \[first_session, ranpac\]",
        ),
        (("fecam", "pet"), r"the modules of 'pet' would never be trained: .* write \[first_session, fecam\]"),
        (("pet", "ncm"), r"the modules of 'pet' would never be trained: .* write \[first_session, ncm\]"),
        (("block_expansion", "ncm"), r"the blocks of .* would never be trained: .* write \[first_session, ncm\]"),
        (("saft", "ranpac"), "there are no optimizer steps for the masks of 'saft'"),
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
        (("replay", "lwf", "replay"), r"method \[replay, lwf, replay\]: plugin 'replay' is listed twice"),
    ],
)
def test_our_own_that_do_not(names: tuple[str, ...], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        check_method(real(*names), "class_incremental")


@pytest.mark.parametrize(
    ("second", "first"),
    [("ewc", "fpf"), ("slca", "fpf"), ("wise_ft", "fpf"), ("saft", "fpf"), ("ewc", "momentum"), ("saft", "momentum"),
     ("wise_ft", "momentum"), ("ewc", "slca")],  # "ewc" and "wise_ft" by what they keep, "saft" by its masks
)  # fmt: skip
def test_what_works_on_the_weights_stands_before_what_stands_in_for_them(second: str, first: str) -> None:
    assert check_method(real(second, first), "class_incremental") is None
    with pytest.raises(UserError, match=rf"'{second}' must come before '{first}', .*: write \[{second}, {first}\]"):
        check_method(real(first, second), "class_incremental")


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("lwf", "saft", "which needs gradients through a head that is warmed up"),
        ("lwf", "momentum", "which averages the head from its values after the warm-up"),
        ("wise_ft", "ewc", "which computes statistics with the weights after the task"),
        ("kfpf", "momentum", "which averages the weights after the tuning"),
        ("saft", "momentum", "which replaces the weights only for the evaluation"),
        ("hft", "fpf", "which uses weights at a task's end that must be unfrozen then"),
        ("hft", "ewc", "which uses weights at a task's end that must be unfrozen then"),
        ("s_pet", "momentum", "which averages the parameters that exist when a task starts"),
        ("backdoor", "momentum", "which averages the parameters that exist when a task starts"),
        ("lucir", "logit_adjustment", "which counts the images that are trained on"),
        ("joint", "logit_adjustment", "which counts the images that are trained on"),
        ("spu", "zscl", "which averages the head from its values after the warm-up"),
        ("saft", "zscl", "which averages the head from its values after the warm-up"),
        ("kfpf", "zscl", "which averages the weights after the tuning"),
        ("zscl", "wise_ft", "which changes the weights that are put in place"),
        ("mix_cd", "coda_prompt", "which changes the network whose answers are read"),
        ("mix_cd", "s_pet", "which changes the network whose answers are read"),
    ],
)
def test_an_order_that_would_decide_the_result_is_said(first: str, second: str, reason: str) -> None:
    assert check_method(real(first, second), "class_incremental") is None
    expected = rf"'{first}' must come before '{second}', {reason}: write \[{first}, {second}\]"
    with pytest.raises(UserError, match=expected):
        check_method(real(second, first), "class_incremental")


def test_who_herds_chooses_by_weights_that_stay() -> None:
    herds, random = [{"buffer": "herding"}, {}], [{"buffer": "reservoir"}, {}]
    for given in (herds, random):
        assert check_method(real("replay", "momentum"), "class_incremental", given) is None
    assert check_method(real("momentum", "replay"), "class_incremental", random[::-1]) is None
    with pytest.raises(UserError, match=r"write \[replay, momentum\]"):
        check_method(real("momentum", "replay"), "class_incremental", herds[::-1])
    with pytest.raises(UserError, match=r"which chooses exemplars with the weights after the task: write \[wise_ft, r"):
        check_method(real("replay", "wise_ft"), "class_incremental", herds)


@pytest.mark.parametrize("buffer", ["reservoir", "class_balanced", "herding"])
def test_a_correction_is_fitted_to_the_weights_that_stay(buffer: str) -> None:
    given: list[dict[str, Any]] = [{}, {"buffer": buffer}]
    assert check_method(real("wise_ft", "bic"), "class_incremental", given) is None
    with pytest.raises(UserError, match=r"'wise_ft' must come before 'bic', .*: write \[wise_ft, bic\]"):
        check_method(real("bic", "wise_ft"), "class_incremental", given[::-1])


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        ("agem", "gem", "the second projection undoes what the first one ensured"),
        ("block_expansion", "linear_probe", "the blocks of 'block_expansion' would never be trained"),
        ("hft", "linear_probe", "the blocks of the backbone are frozen already"),
        ("saft", "linear_probe", "there is nothing for 'saft' to choose from"),
        ("wise_ft", "linear_probe", "its weights before and after a task are the same"),
        ("saft", "kfpf", "saft puts weights back after each step, and with them what was tuned"),
    ],
)
def test_what_comes_to_nothing_in_either_order_is_refused(one: str, other: str, reason: str) -> None:
    for pair in ((one, other), (other, one)):
        with pytest.raises(UserError, match=f"cannot be combined: .*{reason}"):
            check_method(real(*pair), "class_incremental")


@pytest.mark.parametrize("pair", [("slca", "mix_cd"), ("mix_cd", "momentum"), ("replay", "mix_cd")])
def test_names_of_helpers_and_of_counts_force_no_order(pair: tuple[str, str]) -> None:
    for both in (pair, pair[::-1]):
        assert check_method(real(*both), "class_incremental") is None


def test_a_method_that_is_called_as_a_store_is_no_store() -> None:
    keeps = fake("keeps", traits="memory=('weights',)")
    forbids = fake("forbids", traits="incompatible_with={'weights': 'none may keep weights'}")
    assert check_method([fake("helper", "weights", "exemplars"), forbids], "class_incremental") is None
    with pytest.raises(UserError, match="none may keep weights"):
        check_method([keeps, forbids], "class_incremental")


def test_a_deed_can_be_forbidden_and_must_have_a_name() -> None:
    forbids = fake("forbids", traits="incompatible_with={'freezes_backbone': 'it must move'}")
    with pytest.raises(UserError, match="it must move"):
        check_method([fake("ice", traits="freezes_backbone=True"), forbids], "class_incremental")
    with pytest.raises(ValueError, match=r"traits\.effects: 'freeze' is not one of adds modules, "):
        fake("typo", traits="effects=('freeze',)")


def test_two_that_must_each_stand_before_the_other() -> None:
    plugins = [
        fake("one", traits="effects=('warms up head', 'averages weights')"),
        fake("two", traits="effects=('warms up head', 'averages weights')"),
    ]
    expected = (
        "'one' and 'two' cannot be combined: each must come before the other, 'two' before 'one', which averages the "
        "head from its values after the warm-up, and 'one' before 'two', which averages the head"
    )
    with pytest.raises(UserError, match=expected):
        check_method(plugins, "class_incremental")


@pytest.mark.parametrize(
    "pair",
    [
        *(("lwf", other) for other in ("coda_prompt", "tail", "sd_lora", "ease", "s_pet", "cl_lora", "hide")),
        ("icarl", "sd_lora"),
    ],
)
def test_an_old_network_that_would_have_new_modules_is_read_by_nobody(pair: tuple[str, str]) -> None:
    """The module changes the network whose answers are recorded, and the head is warmed up on what it gives then."""
    for names in (pair, pair[::-1]):
        with pytest.raises(UserError, match=" cannot be combined: "):
            check_method(real(*names), "class_incremental")


@pytest.mark.parametrize("other", ["cl_lora", "coda_prompt", "ease", "hide", "s_pet", "sd_lora", "tail"])
@pytest.mark.parametrize("name", ["wa", "bic", "lucir"])
def test_no_old_model_is_distilled_that_has_the_modules_of_the_new_task(name: str, other: str) -> None:
    for names in ((name, other), (other, name)):
        with pytest.raises(UserError, match=" cannot be combined: "):
            check_method(real(*names), "class_incremental")


@pytest.mark.parametrize(
    "other", ["bic", "foster", "gdumb", "logit_adjustment", "lucir", "wa", "icarl", "lwf", "mix_cd"]
)
def test_nothing_that_a_task_begins_stands_beside_adapters_that_are_trained_before_it(other: str) -> None:
    for names in (("sema", other), (other, "sema")):
        with pytest.raises(UserError, match=" cannot be combined: "):
            check_method(real(*names), "class_incremental")


def test_exemplars_are_borrowed_of_one_plugin_before() -> None:
    borrower, lender = fake("mine", traits="borrows=True"), fake("theirs", traits="lends=True")
    assert check_method([lender, borrower], "class_incremental") is None
    assert check_method([borrower], "class_incremental") is None
    with pytest.raises(UserError, match=r"after the plugin that stores exemplars: write \[theirs, mine\]"):
        check_method([borrower, lender], "class_incremental")
    with pytest.raises(UserError, match="'mine' borrows the exemplars of one plugin, but 'theirs' and 'more' store"):
        check_method([lender, fake("more", traits="lends=True"), borrower], "class_incremental")


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
    with pytest.raises(UserError, match=r"the optimizer's parameter groups \(parameter_groups\)"):
        check_method(plugins, "class_incremental")


def test_one_predicts_and_another_gives_parameter_groups() -> None:
    plugins = [fake("one", "predict"), fake("two", "parameter_groups")]
    assert check_method(plugins, "class_incremental") is None


@pytest.mark.parametrize("hook", ["loss", "transform_batch", "select_indices", "on_task_start", "on_task_end"])
def test_hooks_that_add_are_for_any_number(hook: str) -> None:
    plugins = [fake(name, hook) for name in ("one", "two", "three")]
    assert check_method(plugins, "class_incremental") is None


@pytest.mark.parametrize("hook", ["loss", "transform_batch", "select_indices", "parameter_groups"])
def test_what_trains_does_not_go_with_what_takes_no_steps(hook: str) -> None:
    plugins = [fake("one", hook), fake("still", traits="gradient_free=True")]
    with pytest.raises(UserError, match=f"'still' takes no gradient steps, so {hook} of 'one' would have no effect"):
        check_method(plugins, "class_incremental")


def test_what_takes_no_steps_goes_with_what_only_watches() -> None:
    plugins = [fake("watcher", "on_task_end"), fake("still", "predict", traits="gradient_free=True")]
    assert check_method(plugins, "class_incremental") is None


def test_a_hook_can_be_forbidden() -> None:
    forbidding = fake("calm", traits="incompatible_with={'loss': 'it has a loss of its own'}")
    with pytest.raises(UserError, match="'calm' and 'loud' cannot be combined: it has a loss of its own"):
        check_method([fake("loud", "loss"), forbidding], "class_incremental")


def test_what_a_plugin_forbids_others_it_may_do_itself() -> None:
    alone = fake("calm", "loss", traits="memory=('logits',), incompatible_with={'loss': 'mine', 'logits': 'mine'}")
    assert check_method([alone, fake("other", "transform_batch")], "class_incremental") is None


def test_streams_that_a_plugin_cannot_learn() -> None:
    plugins = [fake("one"), fake("shy", traits="scenarios=('class_incremental',)")]
    assert check_method(plugins, "class_incremental") is None
    with pytest.raises(UserError, match="'shy' cannot learn domain_incremental streams, only class_incremental"):
        check_method(plugins, "domain_incremental")


def test_a_frozen_backbone_is_a_rule_of_its_own() -> None:
    def refused(one: str, other: str) -> str:
        reasons = []
        for pair in (("one", one), ("other", other)), (("other", other), ("one", one)):
            try:
                check_method([fake(name, traits=traits) for name, traits in pair], "class_incremental")
            except UserError as error:
                reasons.append(str(error))
        assert len(reasons) in (0, 2)
        return reasons[0] if reasons else ""

    head_alone, modules = "freezes_backbone=True", "freezes_backbone=True, memory=('modules',)"
    for frozen in (head_alone, modules):
        assert "the blocks of 'other' would never be trained" in refused(frozen, "memory=('blocks',)")
        assert "nothing for 'other' to choose from" in refused(frozen, "memory=('masks',)")
        assert refused(frozen, "memory=('exemplars',)") == ""
    assert "both freeze the backbone and add modules to it" in refused(modules, "memory=('modules',)")
    assert "'other' starts again at each task" in refused(modules, "memory=('all data',)")
    assert refused(head_alone, "memory=('all data',)") == ""
    assert refused(head_alone, "memory=('modules',)") == ""


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_pass_is_refused_where_the_stream_passes_once(kind: str) -> None:
    plugin = fake("reads", traits="second_pass='it reads the images again'")
    if kind not in SINGLE_PASS:
        assert check_method([plugin], kind) is None
        return
    with pytest.raises(
        UserError, match=f"cannot learn {kind} streams: it reads the images again, but the stream passes"
    ):
        check_method([plugin], kind)


def test_former_words_for_effects_say_what_they_are_called_now() -> None:
    for trait in ("effects=('thaws',)", "incompatible_with={'freezes': 'why'}"):
        with pytest.raises(ValueError, match="since version 2 of the plugin API"):
            fake("old", traits=trait)


@pytest.mark.parametrize("kind", SINGLE_PASS)
@pytest.mark.parametrize("names", [("aper",), ("first_session", "ncm"), ("first_session", "fecam")])
def test_a_first_session_passes_again_for_the_classifier(names: tuple[str, ...], kind: str) -> None:
    with pytest.raises(UserError, match=f"cannot learn {kind} streams: .* first task, which then pass again"):
        check_method(real(*names), kind)
    assert check_method(real("first_session"), kind) is None
    assert check_method(real("ncm"), kind) is None


def test_what_would_rehearse_images_that_bic_holds_out_or_tune_behind_its_correction_is_refused() -> None:
    for other in ("replay", "agem", "mix_cd"):
        with pytest.raises(UserError, match="other exemplars may be images that bic holds out"):
            check_method(real("bic", other), "class_incremental")
    with pytest.raises(UserError, match="the correction would not belong to the weights that are evaluated"):
        check_method(real("bic", "fpf"), "class_incremental")


def test_samples_whose_classes_cannot_be_counted_are_refused() -> None:
    for names in (("mix_cd", "logit_adjustment"), ("logit_adjustment", "mix_cd")):
        with pytest.raises(UserError, match="how many a class has in a batch is not known"):
            check_method(real(*names), "class_incremental")
    assert check_method(real("replay", "logit_adjustment"), "class_incremental") is None
