"""Every legal pair of registered plugins learns, goes on after an interruption, and leaves nothing behind."""

from __future__ import annotations

import dataclasses
import random
import shutil
from collections import Counter
from collections.abc import Mapping
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_methods import NEEDS, SMALL

from clsuite.errors import UserError
from clsuite.plugin.catalog import catalog, find_plugin, load_class
from clsuite.plugin.compatibility import check_method
from clsuite.plugin.introspection import PluginSource
from clsuite.runner.model_file import TrainedModel
from clsuite.scenarios import Scenario


@cache
def source_of(name: str) -> PluginSource:
    """The source of a plugin, read once for all the pairs that it is in."""
    return find_plugin(name)[1]


ALONE = sorted(
    name for name in catalog() if "clip" not in source_of(name).traits.requires and not source_of(name).traits.works_on
)
"""Registered plugins that a ViT suffices for, and that need no other one."""
LOCAL = {
    "ici",
    "sparse_memory",
    "vpt_nsp2",
    "ease",
    "s_pet",
    "lae",
    "l2p",
    "dual_prompt",
    "coda_prompt",
    "inflora",
    "sd_lora",
    "cl_lora",
}
"""Plugins whose papers train with the current task's cross-entropy alone."""


LINEAR = {"wa"}
"""Plugins that refuse a cosine head before the first task."""


def has_cosine_head(pair: tuple[str, ...]) -> bool:
    """Whether a plugin of the pair needs a cosine head."""
    return any(NEEDS.get(name, {}).get("head") == "cosine" for name in pair)


@cache
def legal_pairs() -> list[tuple[str, str]]:
    """Pairs that composition does not refuse on class-incremental streams, in an order that it takes."""
    orders = ([pair, pair[::-1]] for pair in combinations(ALONE, 2))
    return [found[0] for both in orders if (found := [pair for pair in both if is_legal(pair)])]


def is_legal(pair: tuple[str, ...]) -> bool:
    if LINEAR & {*pair} and has_cosine_head(pair):
        return False
    try:
        check_method([(name, source_of(name)) for name in pair], "class_incremental")
    except UserError:
        return False
    return True


@pytest.fixture(scope="module")
def two_tasks(scenario: Scenario) -> Scenario:
    """Two tasks of two digits with some six test images of each."""
    tasks = tuple(dataclasses.replace(task, test=task.test[::4]) for task in scenario.first(2).tasks)
    return dataclasses.replace(scenario, tasks=tasks)


def plugins_of(pair: tuple[str, ...]) -> list[Any]:
    """The plugins of a pair, small; beside frozen normalizations only the head is left to tune."""
    traits = [source_of(name).traits for name in pair]
    frozen = "spu" in pair or any("modules" in trait.memory or trait.freezes_backbone for trait in traits)
    given = {name: dict(SMALL.get(name, {})) for name in pair}
    for name in {"fpf", "kfpf"} & {*pair} if frozen else ():
        given[name]["modules"] = "head"
    if "gss" in pair and has_cosine_head(pair):
        given["gss"]["gradients"] = "all"
    return [load_class(catalog()[name])(**given[name]) for name in pair]


def in_the_order_that_starts(pair: tuple[str, str], make_stream: Any, given: Mapping[str, Any]) -> tuple[str, ...]:
    """The pair, or its reverse where a plugin says that it must come before or after the other."""
    try:
        make_stream(*plugins_of(pair), **given).learner.start(given["on"])
    except UserError:
        return pair[::-1]
    return pair


def hooks_of(learner: Any) -> Counter[str]:
    """Hooks of every module, by the module's name."""
    return Counter(
        {
            name: sum(
                len(getattr(module, kind)) for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
            )
            for name, module in learner.named_modules()
        }
    )


def whole_state() -> list[Any]:
    """Global switches that a run must leave as they were."""
    hooks = [torch.nn.modules.module._global_forward_hooks, torch.nn.modules.module._global_forward_pre_hooks]
    return [torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads(), *map(len, hooks)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Look for the pairs only where nightly tests are wanted: there are hundreds, and each is checked."""
    if "pair" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("markexpr")
        wanted = "not slow" not in chosen and "not nightly" not in chosen
        metafunc.parametrize("pair", legal_pairs() if wanted else [], ids="+".join)


@pytest.mark.nightly
def test_pair(pair: tuple[str, str], make_stream: Any, two_tasks: Scenario, tmp_path: Path) -> None:
    given: dict[str, Any] = {"on": two_tasks, **({"loss": "local"} if LOCAL & {*pair} and "icarl" not in pair else {})}
    for name in pair:
        given |= NEEDS.get(name, {})
    ordered = in_the_order_that_starts(pair, make_stream, given)
    before = whole_state()
    whole = make_stream(*plugins_of(ordered), checkpoint=tmp_path / "a", **given)
    whole.run()
    assert whole_state() == before
    shutil.copy(tmp_path / "a", tmp_path / "b")
    resumed = make_stream(*plugins_of(ordered), checkpoint=tmp_path / "b", **given)
    random.seed(5)
    np.random.seed(5)
    resumed.run()
    for name, array in whole.matrix.arrays().items():
        np.testing.assert_array_equal(array, resumed.matrix.arrays()[name], err_msg=name)
    states = [stream.learner.state_dict() for stream in (whole, resumed)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    assert hooks_of(whole.learner) == hooks_of(resumed.learner)
    assert max(hooks_of(whole.learner).values()) <= (len(two_tasks.tasks) + 2) * len(pair)
    for plugin in whole.learner.plugins:
        assert set(plugin.stored_bytes()) <= set(plugin.traits.memory)
    rows = np.concatenate([task.test for task in two_tasks.tasks])
    shuffled = np.random.RandomState(0).permutation(len(rows))
    model = TrainedModel(whole.learner, two_tasks.classes)
    together = model.predict(two_tasks.table.images[rows])
    np.testing.assert_array_equal(together, whole.matrix.class_incremental[-1])
    apart = [model.predict(two_tasks.table.images[rows[part]]) for part in np.array_split(shuffled, 5)]
    np.testing.assert_array_equal(together[shuffled], np.concatenate(apart))


def test_pairs_are_many_and_exclude_what_is_refused() -> None:
    legal = legal_pairs()
    assert ("lwf", "replay") in legal
    assert ("first_session", "lda") in legal
    assert ("pet", "ranpac") not in legal
    assert ("joint", "replay") not in legal
    assert len(legal) > 100
