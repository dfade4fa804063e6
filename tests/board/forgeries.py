"""Forged submissions: what somebody might change in honest runs so that they look better, cheaper or different.

Each forgery changes the runs of a submission in memory; `Run.write` then makes counts, key and hashes fit, except where
the forgery itself is one of these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from audited_runs import Run, right

Forgery = Callable[[list[Run]], None]
PROTOCOLS = ("class_incremental", "task_aware")


def each(change: Callable[[Run], Any]) -> Forgery:
    """The same change of all runs."""

    def forge(runs: list[Run]) -> None:
        for run in runs:
            change(run)

    return forge


def content(section: str, **changes: Any) -> Forgery:
    """Other values in a section of the records."""
    return each(lambda run: run.content[section].update(changes))


def scaled(section: str, name: str, factor: float) -> Forgery:
    """A number of the records, made smaller or larger."""
    return each(lambda run: run.content[section].update({name: int(run.content[section][name] * factor)}))


def of_tasks(name: str, change: Callable[[Any], Any]) -> Forgery:
    """Another value of all tasks."""

    def forge(run: Run) -> None:
        for task in run.content["tasks"]:
            task[name] = change(task[name])

    return each(forge)


def kept(*parts: str) -> Callable[[Callable[[Run], Any]], Forgery]:
    """Parts that are left as the forgery made them."""

    def make(change: Callable[[Run], Any]) -> Forgery:
        def forge(run: Run) -> None:
            run.keep |= set(parts)
            change(run)

        return each(forge)

    return make


@kept("counts")
def more_right(run: Run) -> None:
    counts = run.content["counts"]
    last = counts["class_incremental"][-1]
    part = next(part for part, count in enumerate(last) if count < counts["n"][part])
    last[part] += 1


@kept("counts")
def fewer_tested(run: Run) -> None:
    counts = run.content["counts"]
    counts["n"][0] -= 1
    for row in (*counts["class_incremental"], *counts["task_aware"]):
        row[0] = min(row[0], counts["n"][0])


@kept("counts", "states")
def last_row_of_the_diagonal(run: Run) -> None:
    counts = run.content["counts"]["class_incremental"]
    counts[-1] = [max(row[part] for row in counts) for part in range(len(counts[-1]))]


def labels_as_predicted(run: Run) -> None:
    last = run.arrays["class_incremental"][-1]
    labels = run.arrays["labels"].copy()
    labels[np.flatnonzero(labels != last)[:2]] = last[np.flatnonzero(labels != last)[:2]]
    run.arrays["labels"] = labels


def parts_exchanged(run: Run) -> None:
    run.arrays["task"] = run.arrays["task"].max() - run.arrays["task"]


def hard_images_left_out(run: Run) -> None:
    labels = run.arrays["labels"]
    good = (run.arrays["class_incremental"][-1] == labels) | (np.arange(len(labels)) % 2 == 0)
    run.arrays = {name: array[..., good] for name, array in run.arrays.items()}


def improved(rows: slice, share: float, names: tuple[str, ...] = PROTOCOLS) -> Forgery:
    """Wrong predictions of some rows made right; what is right among all classes stays right among fewer."""

    def forge(run: Run) -> None:
        for name in names:
            array = run.arrays[name].copy()
            for row in range(len(array))[rows]:
                array[row] = right(array[row], run.arrays["labels"], share)
            run.arrays[name] = array
        both = run.arrays["class_incremental"] == run.arrays["labels"]
        run.arrays["task_aware"] = np.where(both, run.arrays["labels"], run.arrays["task_aware"]).astype(np.int16)

    return each(forge)


def rows_exchanged(run: Run) -> None:
    """The predictions after the second task are given out as those after the third, where both are possible."""
    for name in PROTOCOLS:
        array = run.arrays[name].copy()
        seen = array[2] >= 0
        array[3, seen] = array[2, seen]
        run.arrays[name] = array


def shuffled_with_equal_counts(run: Run) -> None:
    """Each row permuted within its labels, so that all counts stay."""
    random = np.random.RandomState(0)
    for name in PROTOCOLS:
        array = run.arrays[name].copy()
        for row in array:
            for label in np.unique(run.arrays["labels"]):
                place = np.flatnonzero(run.arrays["labels"] == label)
                row[place] = row[random.permutation(place)]
        run.arrays[name] = array


def other_wrong_predictions(run: Run) -> None:
    """Other classes where the prediction is wrong, so that all counts stay."""
    for name in PROTOCOLS:
        array, labels = run.arrays[name].copy(), run.arrays["labels"]
        for row in range(1, len(array)):
            seen = 2 * row
            wrong = (array[row] != labels) & (array[row] >= 0)
            if name == "class_incremental" and seen > 2:
                other = (array[row] + 1) % seen
                array[row] = np.where(wrong & (other != labels), other, array[row])
        run.arrays[name] = array


def never_forgets(run: Run) -> None:
    """Each task's images stay as they were predicted right after the task."""
    for name in PROTOCOLS:
        array = run.arrays[name].copy()
        for task in range(len(run.content["tasks"])):
            array[task + 1 :, run.arrays["task"] == task] = array[task + 1, run.arrays["task"] == task]
        run.arrays[name] = array


def states_exchanged(run: Run) -> None:
    run.states[2], run.states[3] = run.states[3], run.states[2]


def last_state_everywhere(run: Run) -> None:
    run.states = {number: run.states[max(run.states)] for number in run.states}


def one_task_later(run: Run) -> None:
    """The state before each task is given out as that after it."""
    run.states = {number: run.states[max(1, number - 1)] for number in run.states}


def weights(factor: float, part: str = "") -> Forgery:
    """The weights of all states scaled."""

    def forge(run: Run) -> None:
        for number, state in run.states.items():
            learner = state["learner"]
            changed = {
                name: value * factor if part in name and value.is_floating_point() else value
                for name, value in learner["parameters"].items()
            }
            run.states[number] = {**state, "learner": {**learner, "parameters": changed}}

    return each(forge)


def part_of_states(name: str, value: Callable[[Any], Any]) -> Forgery:
    """An entry of all states replaced."""

    def forge(run: Run) -> None:
        for number, state in run.states.items():
            run.states[number] = {**state, name: value(state[name])}

    return each(forge)


def part_of_learners(name: str, value: Callable[[Any], Any]) -> Forgery:
    """An entry of the learners of all states replaced."""
    return part_of_states("learner", lambda learner: {**learner, name: value(learner[name])})


def without_exemplars(plugins: list[Any]) -> list[Any]:
    """The states of plugins, with images of the buffer set to nothing."""
    return [_zeroed(plugin) for plugin in plugins]


def _zeroed(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.dtype is torch.uint8:
        return torch.zeros_like(value)
    if isinstance(value, dict):
        return {name: _zeroed(one) for name, one in value.items()}
    return [_zeroed(one) for one in value] if isinstance(value, list) else value


@kept("states")
def fewer_commitments(run: Run) -> None:
    run.content["states"].pop()


@kept("states")
def other_commitment(run: Run) -> None:
    run.content["states"][1]["state"] = "0" * 64


@kept("states")
def other_predictions_than_committed(run: Run) -> None:
    improved(slice(5, 6), 1.0)([run])


def missing_state(run: Run) -> None:
    del run.states[2]
    run.keep.add("states")


def fewer_rows(run: Run) -> None:
    """The last task is left out."""
    left = run.arrays["task"] < run.arrays["task"].max()
    run.arrays = {name: array[..., left] for name, array in run.arrays.items()}
    run.arrays |= {name: run.arrays[name][:-1] for name in PROTOCOLS}
    run.states.pop(max(run.states))
    run.content["tasks"].pop()
    for name in ("task_names", "task_fingerprints"):
        run.content["scenario"][name].pop()


def arguments(**changes: Any) -> Forgery:
    """Other arguments of the plugin than those of the run."""
    return each(lambda run: run.content["plugins"][0]["args"].update(changes))


def training(**changes: Any) -> Forgery:
    """Another training than that of the run."""
    return each(lambda run: run.content["config"]["training"].update(changes))


def cheaper(factor: float) -> Forgery:
    """All that depends on the FLOPs of an image, consistently."""

    def forge(run: Run) -> None:
        cost = run.content["cost"]
        cost["forward_flops_per_image"] = int(cost["forward_flops_per_image"] * factor)
        samples = sum(task["gradient_samples"] for task in run.content["tasks"] if not task["frozen"])
        cost["training_flops"] = 3 * cost["forward_flops_per_image"] * samples

    return each(forge)


def fewer_samples(run: Run) -> None:
    """Fewer gradient samples of exemplars, with FLOPs that fit."""
    cost = run.content["cost"]
    for task in run.content["tasks"][1:]:
        task["gradient_samples"] -= task["steps"]
    samples = sum(task["gradient_samples"] for task in run.content["tasks"] if not task["frozen"])
    cost["training_flops"] = 3 * cost["forward_flops_per_image"] * samples


def fewer_trained(run: Run) -> None:
    """Fewer trained parameters, in all tasks and in the cost."""
    for task in run.content["tasks"]:
        task["trainable_parameters"] //= 2
    run.content["cost"]["trainable_parameters"] = max(task["trainable_parameters"] for task in run.content["tasks"])


def stolen(runs: list[Run]) -> None:
    """The first run given out as those of all seeds; the order of the classes is the same."""
    for run in runs[1:]:
        run.take(runs[0])


def stolen_and_touched(runs: list[Run]) -> None:
    """A stolen seed with a few other predictions, so that it is not the same run."""
    stolen(runs)
    for number, run in enumerate(runs[1:], 2):
        array = run.arrays["class_incremental"].copy()
        wrong = np.flatnonzero((array[-1] != run.arrays["labels"]) & (array[-1] > 0))[:number]
        array[-1, wrong] = np.where(run.arrays["labels"][wrong] == 0, 1, 0)
        run.arrays["class_incremental"] = array


def seeds_exchanged(runs: list[Run]) -> None:
    """Each run under the seed of the next."""
    taken = [Run(run.path, {**run.content}, run.arrays, run.states) for run in runs]
    for run, other in zip(runs, taken[1:] + taken[:1], strict=True):
        run.take(other)


def states_of_another_seed(runs: list[Run]) -> None:
    """Predictions and costs of the own run, and states of the next."""
    taken = [run.states for run in runs]
    for run, states in zip(runs, taken[1:] + taken[:1], strict=True):
        run.states = dict(states)


CHEAP: dict[str, Forgery] = {
    "counts: more right answers": more_right,
    "counts: fewer tested images": fewer_tested,
    "counts: the best of all rows": last_row_of_the_diagonal,
    "labels: as predicted": each(labels_as_predicted),
    "labels: parts exchanged": each(parts_exchanged),
    "labels: hard images left out": each(hard_images_left_out),
    "costs: half the FLOPs of training": scaled("cost", "training_flops", 0.5),
    "costs: fewer parameters than the backbone": scaled("cost", "total_parameters", 0.5),
    "costs: nothing is stored": content("cost", stored_bytes={}),
    "costs: another kind is stored": content("cost", stored_bytes={"prototypes": 10}),
    "costs: fewer steps": of_tasks("steps", lambda steps: steps // 2),
    "costs: no gradient samples": of_tasks("gradient_samples", lambda samples: 1),
    "costs: no time": of_tasks("train_seconds", lambda seconds: 0.0),
    "costs: no final loss": of_tasks("final_loss", lambda loss: None),
    "costs: features were fixed": of_tasks("frozen", lambda frozen: True),
    "environment: other images": content("environment", table_sha256="0" * 64),
    "environment: another normalization": content("environment", normalization={"mean": [0.4] * 3, "std": [0.2] * 3}),
    "environment: another precision": content("environment", precision="bf16-mixed"),
    "source: more exemplars than stated": arguments(capacity=5),
    "source: fewer epochs than trained": training(epochs=2),
    "rows: the last task left out": each(fewer_rows),
    "rows: edited after the commitment": other_predictions_than_committed,
    "rows: never forgets": each(never_forgets),
    "states: one commitment less": fewer_commitments,
    "states: another hash": other_commitment,
    "states: one is missing": each(missing_state),
}
"""Forgeries that checks without any learning find, most of them."""
LEARNED: dict[str, Forgery] = {
    "costs: half the stored bytes": each(lambda run: run.content["cost"]["stored_bytes"].update(exemplars=7000)),
    "costs: a smaller image": cheaper(0.8),
    "costs: fewer exemplars in the gradients": each(fewer_samples),
    "costs: half the trained parameters": each(fewer_trained),
    "costs: another final loss": of_tasks("final_loss", lambda loss: 0.5 * loss),
    "environment: another backbone": content("environment", backbone_sha256="1" * 64),
    "source: another learning rate": training(
        optimizer={"name": "adamw", "lr": 0.005, "head_lr": 0.03, "momentum": 0.9, "weight_decay": 0.0}
    ),
    "source: another policy of the buffer": arguments(buffer="class_balanced"),
    "predictions: the last row improved": improved(slice(5, 6), 1.0),
    "predictions: half of the last row improved": improved(slice(5, 6), 0.5),
    "predictions: all rows improved": improved(slice(1, 6), 0.5),
    "predictions: before training": improved(slice(0, 1), 1.0),
    "predictions: one task improved": improved(slice(3, 4), 1.0),
    "predictions: of known tasks": improved(slice(2, 6), 1.0, ("task_aware",)),
    "predictions: permuted with equal counts": each(shuffled_with_equal_counts),
    "predictions: other wrong ones, with equal counts": each(other_wrong_predictions),
    "rows: one given out as the next": each(rows_exchanged),
    "seeds: stolen": stolen,
    "seeds: stolen and touched": stolen_and_touched,
    "seeds: exchanged": seeds_exchanged,
    "states: of another seed": states_of_another_seed,
    "states: exchanged": each(states_exchanged),
    "states: the last one everywhere": each(last_state_everywhere),
    "states: one task later": each(one_task_later),
    "states: weights scaled": weights(1.01),
    "states: head scaled": weights(2.0, "head"),
    "states: not a number": weights(float("nan"), "head"),
    "states: losses invented": part_of_states("losses", lambda losses: [0.1] * len(losses)),
    "states: no losses": part_of_states("losses", lambda losses: []),
    "states: another evaluated": part_of_states("evaluated", lambda nothing: {}),
    "states: another head": part_of_learners("head_sizes", lambda sizes: [2 * size for size in sizes]),
    "states: no plugins": part_of_learners("plugins", lambda plugins: []),
    "states: empty exemplars": part_of_learners("plugins", without_exemplars),
    "states: no parameters": part_of_learners("parameters", lambda parameters: {}),
}
"""Forgeries whose counts, keys and hashes fit, so that something must be learned or predicted again."""
