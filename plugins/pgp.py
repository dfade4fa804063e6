"""Prompt gradient projection: prompts move only where earlier tasks' tokens do not look (PGP, Fwd-Prompt)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from clsuite.peft import PET, FrozenQuery, Read, reads_of
from clsuite.plugin import Learner, Plugin, Scenario, Task, Traits, UserError, check_range
from clsuite.plugin.helpers import grown, token_covariances, within, without


class PGP(Plugin):
    """Takes out of each step of another plugin's prompts what lies in the spaces of earlier tasks' tokens.

    PGP: Qiao et al., "Prompt gradient projection for continual learning" (ICLR 2024), and the authors' code. Write it
    behind ``l2p``, ``dual_prompt`` or ``pet(kind=prompt)``. A prompt p acts on an image through products with what
    reads it, so that steps orthogonal to all readers of earlier tasks change none of these products. Readers are

    * of prompt tokens: the tokens that their block is given, prompts among them;
    * of a prefix's keys: the queries of its attention. The values of a prefix are not projected, as in the code;
    * of the keys that choose prompts: the features of the frozen network.

    At the end of a task each space grows by the main directions of its readers, by GPM's rule (``energy``,
    ``key_energy``). From the second task on each update is projected, ``dP - dP M M'``.

    Fwd-Prompt: Zheng et al., "Beyond anti-forgetting: multimodal continual instruction tuning with positive forward
    transfer" (2024), projects steps into the space of the pre-training's tokens too, to reuse what was learned there
    (``pretrained``). It is built after its abstract: there is no pre-training data here, so that the first task's
    readers stand for it, and sizes and energies are guesses. First into this space, then out of the earlier ones.

    Differences from PGP's code: it projects the gradient, of which Adam then scales each entry, so that steps leave the
    space that is left; here the update is projected, all that the optimizer does included. Its space is of images: it
    decomposes ``R R'`` of 768 images by features, a matrix of images by images, and multiplies prompts with it, whose
    width is 768 as well. Here it is the second moment of what is read, as in the paper. The code takes the PCA of the
    tokens (9 components) and adds that of the prompts; here both are in one moment. A learned scale of a prefix is not
    projected.

    Args:
        energy: Share of the readers' energy that the spaces of prompts keep (code: 0.5); 0 projects no prompt.
        key_energy: The same of the keys that choose prompts (code: 0.97).
        criterion: Whose energy it is: of the readers, as GPM has it (``paper``), or of the second moment's squared
            singular values (``code``), with which far fewer directions are kept.
        pretrained: ``first_task`` projects into the main directions of the first task's readers too (Fwd-Prompt).
        pretrained_energy: Share of their energy that these have.
    """

    traits = Traits(
        requires=("vit", "gradient"),
        memory=("statistics",),
        works_on=("prompts",),
        second_pass="it passes a task's images once more for the spaces of their tokens",
        paper="Qiao, ICLR 2024 (PGP); Zheng, 2024 (Fwd-Prompt)",
    )
    state = ("_spaces", "_pretrained")

    def __init__(
        self,
        energy: float = 0.5,
        key_energy: float = 0.97,
        criterion: Literal["paper", "code"] = "paper",
        pretrained: Literal["none", "first_task"] = "none",
        pretrained_energy: float = 0.99,
    ) -> None:
        super().__init__()
        check_range("pgp", at_least=0, at_most=1, energy=energy, key_energy=key_energy)
        check_range("pgp", above=0, at_most=1, pretrained_energy=pretrained_energy)
        self.energy, self.key_energy, self.criterion = energy, key_energy, criterion
        self.pretrained, self.pretrained_energy = pretrained, pretrained_energy

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Begin with empty spaces.

        Raises:
            UserError: If no earlier plugin has prompts of which it is known what reads them.
        """
        if not any(True for _ in reads_of(learner.plugin_modules)):
            raise UserError(
                "pgp: it is not known what reads the prompts of this method; write it behind l2p, dual_prompt or "
                "pet(kind=prompt)"
            )
        self._modules: list[PET] = []
        self._query = FrozenQuery(learner, self._modules)
        self._spaces: dict[str, Tensor] = {}
        self._pretrained: dict[str, Tensor] = {}

    def transform_update(self, learner: Learner, updates: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Project the updates of the prompts' rows that earlier tasks have read."""
        changed: dict[str, Tensor] = {}
        for name, read in reads_of(learner.plugin_modules, "plugin_modules"):
            if name not in updates or not {read.space} & {*self._spaces, *self._pretrained}:
                continue
            update = changed.setdefault(name, updates[name].clone())
            read.rows(update).copy_(self._projected(read, read.rows(updates[name])))
        return changed

    def _projected(self, read: Read, rows: Tensor) -> Tensor:
        if read.space in self._pretrained:
            rows = within(rows, self._pretrained[read.space])
        return without(rows, self._spaces[read.space]) if read.space in self._spaces else rows

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Add the main directions of what has read the task's prompts to the spaces."""
        reads = {read.space: read for _, read in reads_of(learner.plugin_modules)}
        for space, moment in self._moments(learner, task, [*reads.values()]).items():
            nothing = torch.zeros(len(moment), 0)
            if self.pretrained == "first_task" and not task.index:
                self._pretrained[space] = grown(moment, nothing, self.pretrained_energy, self.criterion)
            energy = self.key_energy if reads[space].by == "features" else self.energy
            if energy:
                self._spaces[space] = grown(moment, self._spaces.get(space, nothing), energy, self.criterion)

    def _moments(self, learner: Learner, task: Task, reads: list[Read]) -> dict[str, Tensor]:
        """Second moments ``[width, width]`` of the task's readers, by space."""
        moments: dict[str, Tensor] = {}
        by_block: tuple[Literal["block", "queries"], ...] = ("block", "queries")
        for by in by_block:
            own = [read for read in reads if read.by == by]
            if own:
                found = token_covariances(learner, task.train, [read.block for read in own], of=by)
                moments |= {read.space: moment for read, moment in zip(own, found, strict=True)}
        for read in reads:
            if read.by == "features":
                self._modules[:] = [module for module in learner.plugin_modules.modules() if isinstance(module, PET)]
                features = self._query.of_rows(task.train).double().cpu()
                moments[read.space] = features.T @ features / len(features)
        return moments
