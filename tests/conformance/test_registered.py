"""Every registered plugin, and some combinations, keep to everything that the conformance suite checks."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from small_methods import BEHIND, SMALL

from clsuite.conformance import check_method
from clsuite.conformance.plugin_under_test import Subject, subject_of
from clsuite.plugin.catalog import catalog, load_class

FEWER = {"gdumb": {"epochs": 2}, "lae": {"epochs": 2}}
"""Options of the training in place of the many epochs that a method brings: 256 passes over a memory, five of LAE."""

COMBINATIONS: dict[str, tuple[dict[str, dict[str, Any]], dict[str, Any]]] = {
    "replay:herding": ({"replay": {"capacity": 10, "buffer": "herding"}}, {}),
    "finetune:carry": ({"finetune": {}}, {"recreate_optimizer": False}),
    "s_pet:own": (
        {"s_pet": {"pet": "lora", "size": 2, "classifier": "own"}}, {"loss": "local", "head": "cosine"},
    ),
    "l2p:lora": (
        {
            "l2p": {"pet": "lora", "size": 2, "pool": 4, "top_k": 2, "blocks": "all", "diversify": True},
            "replay": {"capacity": 10},
        },
        {},
    ),
}  # fmt: skip
"""Methods by name: the arguments of their plugins, and options of their training."""
for method in (
    "lwf+replay",
    "linear_probe+replay",
    "linear_probe+mix_cd",
    "replay+fpf",
    "der+momentum",
    "pet+replay",
    "pet+classifier_alignment",
    "first_session+ranpac",
    "first_session+lda",
    "first_session+momentum",
    "block_expansion+joint",
    "joint+block_expansion",
):
    COMBINATIONS[method] = ({name: SMALL.get(name, {}) for name in method.split("+")}, {})
for method in ("lae+replay+fpf", "first_session+fpf"):  # beside modules the LayerNorms are frozen, and FPF says so
    arguments = {name: SMALL.get(name, {}) for name in method.split("+")}
    COMBINATIONS[method] = (
        {**arguments, "fpf": {**arguments["fpf"], "modules": "head"}},
        FEWER.get(method.split("+")[0], {}),
    )


def subject(name: str, arguments: dict[str, Any]) -> Subject:
    cls = load_class(catalog()[name])
    return subject_of(partial(cls, **arguments), cls, name)


@pytest.mark.parametrize("name", sorted(catalog()))
def test_registered_plugins_conform(name: str) -> None:
    plugins = {**BEHIND.get(name, {}), name: SMALL.get(name, {})}
    report = check_method([subject(*one) for one in plugins.items()], training=FEWER.get(name, {}), partners={})
    assert not report.findings, "\n".join(map(str, report.findings))
    made = {outcome.check for outcome in report.outcomes if not outcome.skipped}
    assert {"trains", "deterministic", "resumes", "saves", "memory", "prediction"} <= made


BESIDE_PARTNERS = ("finetune", "lwf")
"""Of each kind; the others' checks beside replay and LoRA take as long as all else together."""


@pytest.mark.parametrize(
    "name",
    [name if name in BESIDE_PARTNERS else pytest.param(name, marks=pytest.mark.nightly) for name in sorted(catalog())],
)
def test_registered_plugins_conform_beside_partners(name: str) -> None:
    plugins = {**BEHIND.get(name, {}), name: SMALL.get(name, {})}
    report = check_method([subject(*one) for one in plugins.items()], training=FEWER.get(name, {}))
    assert not report.findings, "\n".join(map(str, report.findings))


QUICK = ("replay:herding", "s_pet:own", "lwf+replay", "linear_probe+replay", "first_session+ranpac")
"""Combinations of each kind; continuous integration has the others too."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.nightly) for name in sorted(COMBINATIONS)],
)
def test_combinations_conform(method: str) -> None:
    plugins, training = COMBINATIONS[method]
    report = check_method([subject(*one) for one in plugins.items()], training=training, partners={})
    assert not report.findings, "\n".join(map(str, report.findings))
