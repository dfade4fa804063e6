"""The backdoor adjustment for long-tailed streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from clsuite.plugin import Batch, Learner, Plugin, Scenario, Step, Task, Traits, UserError
from clsuite.plugin.helpers import SecondNetwork, groups_by_rate, tensor_bytes


class Backdoor(Plugin):
    """Sums the logits of networks of several pre-trainings, each of which is tuned on its own.

    Chen et al., "Rethinking the bias of foundation model under long-tailed distribution" (ICML 2025). What a
    pre-training has seen rarely is a bias that re-balancing the classes of a stream does not mend. As in the authors'
    code, the adjustment over this confounder is the sum of the logits of several families, there OpenAI's CLIP,
    OpenCLIP and MetaCLIP. The networks share no weights, and each has the classification loss of the method (with
    `logit_adjustment`, the adjusted one, as in the paper), so that they are tuned as if alone. Losses that plugins add
    are those of the learner's own network.

    The networks are tuned wholly, by the benchmark's rates, with heads as the learner's; the paper tunes AdaptFormers
    and has cosine heads from text features. Modules of other plugins are in the learner's own network alone. The paper
    has no stream of tasks.

    Args:
        networks: The other networks by name, with their weights, both as in ``backbone`` of a benchmark:
            ``{omniglot_vit: bundled}``; none by default, which is the plain method.
        fingerprints: How the SHA-256 of weight files must begin, by the name of the network, so that they are part of
            the run's key.
    """

    traits = Traits(
        memory=("weights",),
        incompatible_with={"all data": "joint training goes back to the pre-trained weights of one network alone"},
        effects=("adds modules", "trains other networks", "trains by itself"),
        paper="Chen, ICML 2025 (backdoor adjustment)",
    )

    def __init__(
        self, networks: Mapping[str, str] | None = None, fingerprints: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self.networks, self.fingerprints = dict(networks or {}), dict(fingerprints or {})
        for name in self.fingerprints:
            if name not in self.networks:
                raise UserError(f"backdoor: fingerprints names '{name}', which is none of its networks")
        self._others: list[SecondNetwork] = []

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Build the other networks."""
        self._others = [
            SecondNetwork(learner, name, weights, self.fingerprints.get(name))
            for name, weights in self.networks.items()
        ]
        for number, network in enumerate(self._others):
            learner.register_plugin_module(self, str(number), network)

    def rebuild_modules(self, learner: Learner, tasks: int) -> None:
        """Recreate the groups of the heads."""
        self._grow(learner)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Let the heads grow."""
        self._grow(learner)

    def _grow(self, learner: Learner) -> None:
        for number, network in enumerate(self._others):
            network.grow_as(learner.head.sizes, learner.generator("backdoor head", number))

    def parameter_groups(self, learner: Learner) -> list[dict[str, Any]] | None:
        """All heads have the rate of heads; None without other networks."""
        if not self._others:
            return None
        heads = [learner.head, *(network.head for network in self._others)]
        return groups_by_rate(learner, learner.options.optimizer, heads)

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """The sum of the classification losses of the other networks."""
        total = None
        for network in self._others:
            loss = learner.classification_of(network.step(step))
            total = loss if total is None else total + loss
            learner.count_gradients(len(step.batch))
        return total

    def predict(self, learner: Learner, batch: Batch) -> Tensor | None:
        """The sum of the logits of all networks."""
        if not self._others:
            return None
        logits: Tensor = learner.head(learner.encode(batch)).float()
        for network in self._others:
            assert batch.images is not None
            logits = logits + network(batch.images).float()
        return logits[:, : learner.seen]

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the other networks."""
        return {"weights": tensor_bytes(self._others)}
