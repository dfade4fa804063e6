"""The search for the worst and the best order of classes: similarity proposes, runs dispose.

What is known of orders disagrees on the sign, so that both ends are proposed and the runs of the method decide:

- Similarity between tasks and accuracy are correlated: an order whose tasks are unlike each other, with similar classes
  together in a task, is hard, and one that spreads similar classes over the tasks is easy (Lai et al., "The Lie of the
  Average: How Class Incremental Learning Evaluation Deceives You?", ICLR 2026, which calls these extreme sequences).
- Grouping dissimilar classes makes tasks easy (Lai et al., "Order-Robust Class Incremental Learning", CVPR 2025), and
  confusable classes in one task or apart change results (Masana et al., "On Class Orderings for Incremental Learning",
  2020).
- Tasks should come from the least representative to the most typical (Li & Hiratani, "Optimal Task Order for Continual
  Learning of Multiple Tasks", ICML 2025).

After these proposals a Gaussian process over what was run so far chooses. Its kernel compares for each pair of classes
which comes first (a Mallows kernel; Jiao & Vert, "The Kendall and Mallows Kernels for Permutations", ICML 2015) and
whether they are together, and the task of each class. The candidates are all orders where there are few, otherwise
those one exchange away from the worst and the best so far.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations, islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clsuite.data.stable_random import stable_random

Split = tuple[tuple[int, ...], ...]
"""The classes of each task, ascending within a task: their order there does not change what a task is."""
Floats = NDArray[np.float64]
End = Literal["worst", "best"]

ROUND: tuple[End, ...] = ("worst", "worst", "best")
"""What the orders of a round look for. Robustness is a claim about the worst, so that it has two thirds of the runs."""
MOST = 1000
"""Largest number of candidates in a round."""
PAIRS = 5000
"""Largest number of pairs of classes that the kernel compares; of more, a fixed choice."""
NEAREST = 2
"""Number of the worst and of the best orders so far whose neighbors are candidates."""
BOLDNESS = 2.0
"""Standard deviations by which a candidate's prediction is moved towards what is looked for."""
LENGTHS = (0.25, 0.5, 1.0, 2.0)
"""Length scales of the kernel, of which the likelihood chooses; an order is about 2 from its reverse."""
NOISE = 0.05
"""Variance of the noise, as a share of the variance of the scores."""


def split_of(order: Sequence[int], sizes: Sequence[int]) -> Split:
    """The split that an order of the classes gives."""
    ends = np.cumsum(sizes)
    return tuple(tuple(sorted(order[end - size : end])) for size, end in zip(sizes, ends, strict=True))


@dataclass
class OrderSearch:
    """The search for one method; the same scores give the same search.

    Attributes:
        similarity: Similarity of classes, ``[K, K]``, such as the cosine of their mean features.
        starts: Splits that are run first.
        budget: Number of splits that are run.
        scores: The score of each split so far; ``nan`` if its run failed.
    """

    similarity: Floats
    starts: Sequence[Split]
    budget: int
    scores: dict[Split, float] = field(default_factory=dict)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of classes of each task."""
        return tuple(len(task) for task in self.starts[0])

    def ask(self) -> list[Split]:
        """The splits of the next round; none if the budget is spent, or every split was run."""
        left = self.budget - len(self.scores)
        if not self.scores:
            first = dict.fromkeys([*self.starts, *proposals(self.similarity, self.starts[0])])
            return list(islice(first, left))
        return self._round(ROUND[:left]) if left > 0 else []

    def tell(self, split: Split, score: float) -> None:
        """Take the score of a split; ``nan`` if its run failed."""
        self.scores[split] = score

    def found(self, end: End) -> Split | None:
        """The worst or the best split so far; the first of several equal ones, None if all runs failed."""
        known = {split: score for split, score in self.scores.items() if not math.isnan(score)}
        return (min if end == "worst" else max)(known, key=lambda split: known[split], default=None)

    def _round(self, wanted: Sequence[End]) -> list[Split]:
        """The most promising candidates; each is taken to have its prediction when the next one is chosen."""
        known = {split: score for split, score in self.scores.items() if not math.isnan(score)}
        pool = [split for split in self._candidates() if split not in self.scores]
        chosen: list[Split] = []
        for end in wanted:
            if not pool:
                break
            mean, deviation = self._predict(known, pool)
            sign = -1.0 if end == "worst" else 1.0
            place = int(np.argmax(np.round(sign * mean + BOLDNESS * deviation, 12)))
            known = {**known, pool[place]: float(mean[place])}
            chosen.append(pool.pop(place))
        return chosen

    def _candidates(self) -> list[Split]:
        """All splits if there are few, otherwise the neighbors of the extremes so far, at most `MOST` of them."""
        if number_of_splits(self.sizes) <= MOST:
            return list(all_splits(self.sizes))
        ranked = sorted(
            (split for split in self.scores if not math.isnan(self.scores[split])), key=self.scores.__getitem__
        )
        centers = list(dict.fromkeys([*ranked[:NEAREST], *ranked[-NEAREST:]])) or list(self.starts)
        found: dict[Split, None] = {}
        for number, center in enumerate(centers):
            exchanges = list(exchanges_of(center))
            order = stable_random(len(self.scores), "order candidates", number).permutation(len(exchanges))
            for place in sorted(order[: MOST // len(centers)]):
                found[exchanged(center, *exchanges[place])] = None
        return list(found)

    def _predict(self, known: dict[Split, float], pool: Sequence[Split]) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the scores of some splits, given those that are known."""
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF

        if not known:
            return np.zeros(len(pool)), np.ones(len(pool))
        inputs, scores = self._embedded(list(known)), np.array(list(known.values()))
        fits = [
            GaussianProcessRegressor(RBF(length), alpha=NOISE, optimizer=None, normalize_y=True).fit(inputs, scores)
            for length in LENGTHS
        ]
        best = max(fits, key=lambda fit: round(float(fit.log_marginal_likelihood_value_), 9))
        mean, deviation = best.predict(self._embedded(pool), return_std=True)
        return mean, deviation

    def _embedded(self, splits: Sequence[Split]) -> Floats:
        """Splits as vectors: which of two classes is first, which are together, where each is, how tasks are alike."""
        tasks = np.array([task_of(split) for split in splits])
        first, second = np.triu_indices(tasks.shape[1], 1)
        if len(first) > PAIRS:
            kept = stable_random(0, "pairs of classes").permutation(len(first))[:PAIRS]
            first, second = first[kept], second[kept]
        relations = np.sign(tasks[:, second] - tasks[:, first]).astype(np.float64)
        places = np.eye(len(self.sizes))[tasks].reshape(len(tasks), -1)
        alike = np.array([[between(self.similarity, split)] for split in splits])
        return np.concatenate([_of_length_one(part) for part in (relations, relations == 0, places, alike)], axis=1)


def _of_length_one(vectors: NDArray[Any]) -> Floats:
    """Vectors scaled so that parts of any length have the same weight."""
    scaled: Floats = vectors / math.sqrt(vectors.shape[1])
    return scaled


def task_of(split: Split) -> NDArray[np.int64]:
    """The task of each class."""
    tasks = np.zeros(sum(len(task) for task in split), dtype=np.int64)
    for number, classes in enumerate(split):
        tasks[list(classes)] = number
    return tasks


def between(similarity: Floats, split: Split) -> float:
    """Mean similarity of two classes of different tasks; zero for a single task."""
    tasks = task_of(split)
    apart = tasks[:, None] != tasks[None, :]
    return float(similarity[apart].mean()) if apart.any() else 0.0


def proposals(similarity: Floats, start: Split) -> Iterator[Split]:
    """Four splits: tasks as unlike and as alike as possible, each with the most typical task first and last."""
    for sign in (1.0, -1.0):
        yield from _by_typicality(similarity, _grouped(sign * similarity, start))


def _grouped(similarity: Floats, split: Split) -> Split:
    """A split with similar classes in one task: the exchange that helps the most, until none helps."""
    alike = similarity - np.diag(np.diag(similarity))
    tasks = task_of(split)
    while True:
        to_task = alike @ np.eye(len(split))[tasks]
        own = to_task[np.arange(len(tasks)), tasks]
        there = to_task[:, tasks]  # of class i with the task of class j
        gain = np.round(there + there.T - own[:, None] - own[None, :] - 2 * alike, 12)
        gain[tasks[:, None] == tasks[None, :]] = 0.0
        one, other = np.unravel_index(int(np.argmax(gain)), gain.shape)
        if gain[one, other] <= 0:
            return tuple(tuple(int(label) for label in np.flatnonzero(tasks == task)) for task in range(len(split)))
        tasks[one], tasks[other] = tasks[other], tasks[one]


def _by_typicality(similarity: Floats, split: Split) -> Iterator[Split]:
    """The split with its tasks of equal size from the most typical to the least, and the other way round."""
    typical = {task: float(similarity[list(task)].mean()) for task in split}
    for sign in (-1.0, 1.0):
        ranked = {
            size: iter(sorted((task for task in split if len(task) == size), key=lambda task: sign * typical[task]))
            for size in {len(task) for task in split}
        }
        yield tuple(next(ranked[len(task)]) for task in split)


Exchange = tuple[int, int, int, int]
"""Two tasks, and a class of each that change places; -1 for both if the tasks themselves do."""


def exchanges_of(split: Split) -> Iterator[Exchange]:
    """The exchanges of two classes of different tasks, or of two tasks of the same size."""
    for a, b in combinations(range(len(split)), 2):
        if len(split[a]) == len(split[b]) > 1:
            yield a, b, -1, -1
        yield from ((a, b, one, other) for one in split[a] for other in split[b])


def exchanged(split: Split, a: int, b: int, one: int, other: int) -> Split:
    """A split after an exchange; see `exchanges_of`."""
    left, right = split[b], split[a]
    if one >= 0:
        left = tuple(sorted({*split[a], other} - {one}))
        right = tuple(sorted({*split[b], one} - {other}))
    return tuple(left if place == a else right if place == b else task for place, task in enumerate(split))


def number_of_splits(sizes: Sequence[int]) -> int:
    """Number of splits of classes into tasks of given sizes: 90 for six classes in three tasks of two."""
    return math.factorial(sum(sizes)) // math.prod(math.factorial(size) for size in sizes)


def all_splits(sizes: Sequence[int]) -> Iterator[Split]:
    """All splits of classes into tasks of given sizes."""

    def of(rest: tuple[int, ...], sizes: Sequence[int]) -> Iterator[Split]:
        if not sizes:
            yield ()
            return
        for task in combinations(rest, sizes[0]):
            left = tuple(item for item in rest if item not in task)
            yield from ((task, *others) for others in of(left, sizes[1:]))

    return of(tuple(range(sum(sizes))), sizes)
