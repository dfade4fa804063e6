"""Learns parts of a run again, and compares them with what its record says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsuite.backbones.state_hash import state_sha256
from clsuite.backbones.vit import forward_flops
from clsuite.board.audit.submission import Submitted, difference
from clsuite.board.rerun import ENTRY_TOLERANCE, kinds_apart
from clsuite.errors import UserError, is_foreign
from clsuite.learner.learner import Learner
from clsuite.learner.options import TrainingSpec
from clsuite.runner.build import build_learner
from clsuite.runner.environment import describe_environment
from clsuite.runner.execute import load_scenario, stored_by
from clsuite.runner.plan import RunPlan
from clsuite.scenarios import Scenario
from clsuite.stream.evaluation import AccuracyMatrix, part_masks
from clsuite.stream.relearning import Relearned, RelearningStream
from clsuite.stream.trainer import find_device

PROTOCOLS = ("class_incremental", "task_aware")
TIES, TIES_APART = 1e-4, 0.05
"""How far the logit of a prediction may lie below the largest one, as a share of the range of the image's logits: where
batches are of other sizes, and on another kind of machine."""
LOSS_APART = 0.02
"""Largest relative difference of the loss of a first step on another kind of machine."""


@dataclass(frozen=True)
class Tolerance:
    """What may differ.

    Attributes:
        apart: How this machine differs from that of the run; empty if everything must be equal.
    """

    apart: str

    def losses(self, claimed: list[float], found: list[float]) -> bool:
        """Whether the losses of first steps agree."""
        if not self.apart:
            return claimed == found
        return len(claimed) == len(found) and bool(np.allclose(found, claimed, rtol=LOSS_APART, atol=1e-6))

    def largest(self, images: NDArray[np.integer]) -> NDArray[np.floating]:
        """The largest differences of counts of that many images."""
        return images * (ENTRY_TOLERANCE if self.apart else 0.0)

    def wrong(self, logits: Tensor, predicted: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Which predictions are not of the largest of the logits ``[N, classes]``, nor tie with it."""
        finite = torch.where(torch.isfinite(logits), logits, torch.nan)
        largest = logits.amax(dim=1)
        smallest = torch.from_numpy(np.nanmin(finite.numpy(), axis=1))
        labels = torch.from_numpy(predicted.astype(np.int64)).clamp(min=0)
        below = largest - logits.gather(1, labels[:, None])[:, 0]
        allowed = (TIES_APART if self.apart else TIES) * (largest - smallest).clamp(min=1e-12)
        return (below > allowed).numpy() | (predicted < 0)


class RunAudit:
    """The audit of one run.

    Attributes:
        one: The run.
        scenario: Its stream.
        tolerance: What may differ.
        cost: What the audit has cost so far, in samples with a gradient.
    """

    def __init__(self, one: Submitted, plan: RunPlan) -> None:
        """Load the stream of the run.

        Raises:
            UserError: If it cannot be made.
        """
        training = TrainingSpec.model_validate(plan.pending.config["training"])
        torch.set_num_threads(training.threads)
        self.one, self._plan, self.cost = one, plan, 0.0
        self.scenario: Scenario = load_scenario(plan)
        self._device = find_device(plan.device)
        environment = describe_environment(self._device, training.precision, training.threads)
        self.tolerance = Tolerance(kinds_apart(one.record, one.record.model_copy(update={"environment": environment})))
        self._matrix = AccuracyMatrix(self.scenario)

    def relearn(self, index: int) -> Iterator[str]:
        """Learn a whole task, from 0, and compare everything after it."""
        found = self._on_a_stream(index + 1, lambda made: made.relearn(self._before(index), self.scenario.tasks[index]))
        if isinstance(found, str):
            yield found
        else:
            yield from self._unlike_task(index, found)

    def begin(self, index: int, steps: int) -> Iterator[str]:
        """Learn the first steps of a task, from 0, and compare their losses."""
        claimed = (self.one.state(index + 1) or {})["losses"]
        steps = min(steps, self.one.record.tasks[index].steps)
        task = self.scenario.tasks[index]
        found = self._on_a_stream(index + 1, lambda made: made.first_losses(self._before(index), task, steps))
        if isinstance(found, str):
            yield found
        elif not self.tolerance.losses([*claimed[:steps]], found):
            shown = [", ".join(f"{value:.6g}" for value in losses) for losses in (claimed[:steps], found)]
            yield difference(self.one, index + 1, f"loss of the first {steps} steps", *shown)

    def evaluate(self, row: int, chosen: NDArray[np.int64]) -> Iterator[str]:
        """Predict images by a stored state, and compare; also what the network of the last state costs.

        Args:
            row: The evaluation: 0 before any training, ``i`` after the i-th task.
            chosen: Positions of the images among those that were evaluated.
        """
        seen = self.scenario.seen_classes(max(row, 1))
        columns = np.flatnonzero(self._matrix.labels < seen)[chosen]
        last = row == len(self.scenario.tasks)

        def predict(made: RelearningStream) -> tuple[Tensor, list[str]]:
            rows = self._matrix.rows[columns]
            logits = made.logits_after(self.one.state(row) or {}, rows) if row else made.logits_before(rows)
            return logits, [*self._unlike_network(made.learner)] if last else []

        found = self._on_a_stream(row, predict)
        if isinstance(found, str):
            yield found
            return
        logits, problems = found
        yield from problems
        if logits.shape[1] != seen:
            yield difference(self.one, row, "classes of the stored state", seen, logits.shape[1])
            return
        masks = part_masks(self.scenario, seen)[self._matrix.task[columns].astype(np.int64)]
        for name, scores in zip(PROTOCOLS, (logits, logits + masks), strict=True):
            wrong = int(self.tolerance.wrong(scores, self.one.arrays[name][row, columns]).sum())
            if wrong:
                text = f"{wrong} of {len(columns)} drawn {name} predictions are not those of the stored state"
                yield f"{self.one.name}: task {row}: {text}"

    def _before(self, index: int) -> dict[str, Any] | None:
        return self.one.state(index)

    def _on_a_stream(self, task: int, use: Callable[[RelearningStream], Any]) -> Any:
        """The result of using a new stream; a line if the state does not fit the method.

        Raises:
            UserError: If the method cannot be built here.
        """
        plan = self._plan
        learner = build_learner(plan.pending, plan.plugins, plan.weights, files=plan.files)
        claimed = self.one.record.environment.get("backbone_sha256")
        if claimed not in (None, found := state_sha256(learner.backbone)):
            return difference(self.one, task, "hash of the backbone before training", str(claimed)[:12], found[:12])
        made = RelearningStream(learner, self.scenario, self._device, identity=plan.pending.key)
        try:
            return use(made)
        except BaseException as error:  # states of others may cause any error
            if not is_foreign(error):
                raise
            reason = " ".join(str(error).split())[:200]
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            return f"{self.one.name}: task {task}: its state does not fit its method: {kind}{reason}"
        finally:
            self.cost += made.cost

    def _unlike_task(self, index: int, found: Relearned) -> Iterator[str]:
        """A line for each difference after a task that was learned again."""
        number, parts = index + 1, len(self.scenario.eval_splits)
        for name in PROTOCOLS:
            claimed, now = self.one.arrays[name][number], found.predictions[name]
            labels, part = self._matrix.labels, self._matrix.task
            right = [np.bincount(part[row == labels], minlength=parts) for row in (claimed, now)]
            images = np.bincount(part, minlength=parts)
            if (np.abs(right[0] - right[1]) > self.tolerance.largest(images)).any():
                yield difference(self.one, number, f"{name} counts", right[0].tolist(), right[1].tolist())
            elif not self.tolerance.apart and (differing := int((claimed != now).sum())):
                yield f"{self.one.name}: task {number}: {differing} {name} predictions differ, with equal counts"
        fields: tuple[str, ...] = ("steps", "gradient_samples", "trainable_parameters", "frozen")
        fields += () if self.tolerance.apart else ("final_loss",)
        for name in fields:
            claimed, now = getattr(self.one.record.tasks[index], name), getattr(found.entry, name)
            if claimed != now:
                yield difference(self.one, number, name, claimed, now)
        if not self.tolerance.apart and found.state != (claimed := self.one.commitments[index].state):
            yield difference(self.one, number, "hash of the state", claimed[:12], found.state[:12])

    def _unlike_network(self, learner: Learner) -> Iterator[str]:
        """A line for each difference in what the network of the last state costs."""
        cost = self.one.record.cost
        assert cost is not None
        size = self.scenario.table.images.shape[-1]
        now: Mapping[str, Any] = {
            "total_parameters": sum(parameter.numel() for parameter in learner.parameters()),
            "stored_bytes": {kind: size for plugin in learner.plugins for kind, size in stored_by(plugin).items()},
            "forward_flops_per_image": forward_flops(learner.backbone, size),
        }
        for name, found in now.items():
            if (claimed := getattr(cost, name)) != found:
                yield difference(self.one, len(self.scenario.tasks), f"cost.{name}", claimed, found)
