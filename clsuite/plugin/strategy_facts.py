"""Facts about Avalanche's strategies: what they store and predict, and which cannot be methods. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from clsuite.plugin.traits import Scores


@dataclass(frozen=True)
class Facts:
    """What the traits of a strategy follow from.

    Attributes:
        memory: Kinds of what it keeps between tasks: at most ``exemplars`` and one other.
        scores: Kind of its predictions.
        new_classes: Whether each task must have classes of its own.
        paper: First author, venue and year.
        needs: A module that Avalanche imports for it, and does not install; empty if there is none.
    """

    memory: tuple[str, ...] = ("exemplars", "weights")
    scores: Scores = "logits"
    new_classes: bool = False
    paper: str = ""
    needs: str = ""


UNKNOWN = Facts()
"""The facts of a strategy that is in no table: it may keep anything."""
FACTS = {
    "AGEM": Facts(("exemplars",), paper="Chaudhry, ICLR 2019 (A-GEM)"),
    "CWRStar": Facts(("weights",), paper="Lomonaco, CVPR-W 2020 (CWR*)"),
    "CoPE": Facts(("exemplars", "prototypes"), "distance", paper="De Lange, ICCV 2021 (CoPE)"),
    "Cumulative": Facts(("all data",), paper="upper bound"),
    "DER": Facts(("exemplars", "logits"), paper="Buzzega, NeurIPS 2020 (DER)"),
    "ER_ACE": Facts(("exemplars",), paper="Caccia, ICLR 2022 (ER-ACE)"),
    "ER_AML": Facts(("exemplars",), paper="Caccia, ICLR 2022 (ER-AML)"),
    "EWC": Facts(("importances",), paper="Kirkpatrick, PNAS 2017 (EWC)"),
    "FromScratchTraining": Facts(("weights",), paper="lower bound"),
    "GDumb": Facts(paper="Prabhu, ECCV 2020 (GDumb)"),
    "GEM": Facts(("exemplars",), paper="Lopez-Paz, NeurIPS 2017 (GEM)", needs="quadprog"),
    "GSS_greedy": Facts(("exemplars",), paper="Aljundi, NeurIPS 2019 (GSS)"),
    "ICaRL": Facts(("exemplars", "weights"), "distance", new_classes=True, paper="Rebuffi, CVPR 2017 (iCaRL)"),
    "LFL": Facts(("weights",), paper="Jung, 2016 (LFL)"),
    "LwF": Facts(("weights",), paper="Li, ECCV 2016 (LwF)"),
    "MAS": Facts(("importances",), paper="Aljundi, ECCV 2018 (MAS)"),
    "MER": Facts(("exemplars",), paper="Riemer, ICLR 2019 (MER)"),
    "MIR": Facts(("exemplars",), paper="Aljundi, NeurIPS 2019 (MIR)"),
    "Naive": Facts((), paper="lower bound"),
    "Replay": Facts(("exemplars",), paper="Chaudhry, 2019 (ER)"),
    "SCR": Facts(("exemplars", "prototypes"), "distance", paper="Mai, CVPR-W 2021 (SCR)"),
    "StreamingLDA": Facts(("statistics",), paper="Hayes, CVPR-W 2020 (SLDA)"),
    "SynapticIntelligence": Facts(("importances",), paper="Zenke, ICML 2017 (SI)"),
}
"""The facts of strategies by the name of their class."""

UNFIT = {
    "AETraining": "it trains an autoencoder, and no classifier",
    "AR1": "it builds a MobileNet of its own in place of the backbone",
    "ExpertGateStrategy": "it needs Avalanche's ExpertGate, an AlexNet, in place of the backbone",
    "GenerativeReplay": "its generator is for images of 28 x 28 pixels",
    "JointTraining": "it learns all tasks at once, which is no stream: use the plugin joint",
    "LearningToPrompt": "it builds a ViT of its own in place of the backbone: use the plugin l2p",
    "OnlineNaive": "it is for experiences of single batches: use avalanche:Naive with training.epochs 1",
    "PNNStrategy": "it needs Avalanche's progressive network in place of the backbone",
    "PackNet": "it needs a network that Avalanche has wrapped, and the task of each test image",
    "VAETraining": "it trains a variational autoencoder, and no classifier",
}
"""Why some strategies cannot be methods."""

BROKEN = {
    ("BiC", "0.6.0"): "it replaces the data of an experience, which Avalanche's experiences forbid, and makes "
    "MultiStepLR with an argument that PyTorch has removed",
}
"""Why strategies of one version of Avalanche cannot run with today's libraries, by class and version."""

GIVEN = frozenset({
    "augmentations", "base_kwargs", "buffer_transform", "classifier", "criterion", "cwr_layer_name", "device",
    "eval_every", "eval_mb_size", "evaluator", "feature_extractor", "input_size", "kwargs", "last_layer_name", "model",
    "n_classes", "num_classes", "optimizer", "output_layer_name", "peval_mode", "plugins", "reset_optimizer",
    "slda_model", "train_epochs", "train_mb_size",
})  # fmt: skip
"""Arguments of strategies that follow from the benchmark: no method gives them."""

SIZES = ("model", "optimizer", "criterion", "sizes", "device")
"""Arguments that a function that makes a strategy may have besides its own."""


@dataclass(frozen=True)
class Alone:
    """Why a method is learned by a loop that is not clsuite's.

    Attributes:
        library: Whose loop it is.
        needs: A module that has to be installed for it; empty if there is none.
        reason: Why plugins cannot be added to it.
    """

    library: str = "Avalanche"
    needs: str = ""
    reason: str = field(
        default="it trains in a loop of its own, which calls no hook of a plugin: give Avalanche's plugins to a "
        "strategy in a function of your own, FILE.py:make_strategy"
    )
