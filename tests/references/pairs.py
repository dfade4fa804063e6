"""Families of methods: a method of the suite, the plain loop that it is held against, and settings that both have."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from clsuite.backbones.spec import BackboneSpec, find_weights
from clsuite.backbones.vit import build_backbone
from clsuite.learner.learner import Learner
from clsuite.learner.options import TrainingSpec
from clsuite.plugin.catalog import catalog, load_class
from clsuite.scenarios import Scenario
from clsuite.stream.loop import Stream as SuiteStream
from references.common import read

TWO_RATES = {"name": "adamw", "lr": 0.0005, "head_lr": 0.003}
SLOW: dict[str, Any] = {"epochs": 3, "optimizer": {"name": "adamw", "lr": 0.0001, "head_lr": 0.001}}


@dataclass(frozen=True)
class Pair:
    """One family.

    Attributes:
        plugin: Of the suite.
        arguments: Of the plugin.
        reference: Module of the plain loop.
        settings: Of the plain loop, what `training` says left out.
        training: Of both, as a benchmark writes it.
        behind: Plugins that stand behind it, with their defaults.
    """

    plugin: str
    reference: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    behind: tuple[str, ...] = ()

    @property
    def whole_training(self) -> dict[str, Any]:
        """What the suite is told of the training."""
        return {"epochs": 5, "batch_size": 32, "head_init": 0.001, "precision": "32", **self.training}

    def plain(self, scenario: Scenario, seed: int, **other: Any) -> list[float]:
        """The plain loop's curve."""
        curve: Callable[..., list[float]] = importlib.import_module(f"references.{self.reference}").curve
        training, shared = self.whole_training, dict[str, Any]()
        shared |= {name: training[name] for name in ("epochs", "batch_size")}
        shared |= {name: training["optimizer"][name] for name in ("lr", "head_lr") if name in training["optimizer"]}
        return curve(read(scenario), seed, **{**shared, **self.settings, **other})

    def suite(self, scenario: Scenario, seed: int, **other: Any) -> list[float]:
        """The suite's curve: its learner and its loop in this process."""
        torch.manual_seed(seed)
        spec = BackboneSpec()
        method = [load_class(catalog()[name])() for name in self.behind]
        method = [load_class(catalog()[self.plugin])(**{**self.arguments, **other}), *method]
        options = TrainingSpec.model_validate(self.whole_training)
        learner = Learner(build_backbone(spec, find_weights(spec, [])), options, method, seed)
        stream = SuiteStream(learner, scenario, torch.device("cpu"))
        stream.run()
        matrix = stream.matrix
        right = matrix.class_incremental[1:] == matrix.labels
        return [100 * float(row[matrix.task <= task].mean()) for task, row in enumerate(right)]


def local(lr: float, **more: Any) -> dict[str, Any]:
    """Five epochs of a module and a head, of the task's own classes."""
    return {"loss": "local", "optimizer": {"name": "adamw", "lr": lr, "head_lr": 0.003}, **more}


def decaying(lr: float, head_lr: float) -> dict[str, Any]:
    """SGD with the weight decay of the methods that align their heads."""
    return {"name": "sgd", "lr": lr, "head_lr": head_lr, "weight_decay": 5e-4}


def aper(arguments: dict[str, Any], kind: str, lr: float) -> Pair:
    """A kind of module that is tuned on the first task, in small batches, as there are few steps otherwise."""
    cosine = {"head": "cosine", "head_scale": 1.0, "head_init": "uniform", "batch_size": 8}
    return Pair("aper", "aper", arguments, {"kind": kind}, local(lr, **cosine))


PAIRS: dict[str, Pair] = {
    "lae": Pair("lae", "lae", {"blocks": "all", "frozen_epochs": 3, "decay": 0.95}, training=local(0.003)),
    "l2p": Pair("l2p", "l2p", {"prompt_init": "unit", "key_init": "unit"}, training=local(0.003)),
    "coda_prompt": Pair("coda_prompt", "coda_prompt", {"blocks": "all"}, training=local(0.01)),
    "s_prompts": Pair("s_pet", "s_prompts", {"distance": "manhattan"}, training=local(0.01)),
    "lora": Pair("pet", "lora", training=local(0.001)),
    "inflora": Pair("inflora", "inflora", training=local(0.003)),
    "sd_lora": Pair("sd_lora", "sd_lora", training=local(0.001)),
    "cl_lora": Pair(
        "cl_lora",
        "cl_lora",
        training={
            "loss": "local",
            "head": "cosine",
            "head_scale": 1.0,
            "head_init": "uniform",
            "optimizer": {"name": "sgd", "lr": 0.03, "head_lr": 0.03},
        },
    ),
    "slca": Pair(
        "slca",
        "slca",
        training={"loss": "local", "epochs": 3, "optimizer": {"name": "sgd", "lr": 1e-4, "head_lr": 1e-2}},
    ),
    "aper (shallow)": aper({"kind": "prompt", "blocks": "0", "prompt_init": "zeros"}, "shallow", 0.01),
    "aper (deep)": aper({"kind": "prompt", "prompt_init": "zeros"}, "deep", 0.01),
    "aper (ssf)": aper({"kind": "ssf", "ends": True}, "ssf", 0.003),
    "cofima": Pair(
        "cofima",
        "cofima",
        {"lr": 1e-3, "fisher_limit": None},
        {"lr": 1e-3, "head_lr": 1e-2},
        {"loss": "local", "epochs": 3, "optimizer": {"name": "sgd", "lr": 1e-3, "head_lr": 1e-2}},
    ),
    "duct": Pair(
        "duct",
        "duct",
        {"lr": 1e-2, "cost": "relative"},
        {"lr": 1e-2, "head_lr": 0.1, "head_std": 0.02},
        {
            "loss": "local",
            "epochs": 3,
            "head": "cosine",
            "head_scale": 1.0,
            "head_init": 0.02,
            "optimizer": {"name": "sgd", "momentum": 0.9, "weight_decay": 5e-4},
        },
    ),
    "ease": Pair("ease", "ease", training=local(0.003, head="cosine", head_scale=1.0, head_init="uniform")),
    "der++": Pair("der", "der", {"capacity": 50}, training={"head_classes": "stream", "optimizer": TWO_RATES}),
    "icarl": Pair("icarl", "icarl", {"capacity": 50}, training={"epochs": 3, "optimizer": TWO_RATES}),
    "ewc": Pair("ewc", "ewc", {"penalty": 1e7, "samples": 32}, {"penalty": 1e7, "samples": 32}, SLOW),
    "hide": Pair(
        "hide",
        "hide",
        {"blocks": "all", "centroids": 3, "samples": 24, "momentum": 0.1},
        {"momentum": 0.1},
        training=local(0.003),
    ),
    "lwf": Pair("lwf", "lwf", {"alpha": 1.0}, {"strength": 1.0, "local": False}, SLOW),
    "ssiat": Pair(
        "ssiat",
        "ssiat",
        {"margin": 0.1},
        {"margin": 0.1},
        {"loss": "local", "head": "cosine", "head_init": "uniform", "optimizer": decaying(0.3, 0.03)},
    ),
    "mos": Pair("mos", "mos", training={"loss": "local", "optimizer": decaying(0.3, 0.03)}),
    "tuna": Pair(
        "tuna",
        "tuna",
        {"orthogonality": 10.0},
        {"weight": 10.0},
        {"loss": "local", "head": "cosine", "head_init": "uniform", "optimizer": decaying(0.1, 0.03)},
    ),
    "sema": Pair("sema", "sema", {"threshold": 1.5}, training={"loss": "local", "optimizer": decaying(0.01, 0.01)}),
    "acl": Pair("acl", "acl", {"lr": 1e-3}, training=SLOW, behind=("finetune",)),
    "fpf": Pair("fpf", "fpf", {"capacity": 50, "steps": 25}, {"steps": 25}, SLOW),
}

REFERENCES = sorted({pair.reference for pair in PAIRS.values()})
