"""The buffer: its policies against hand implementations and against chance."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from clsuite.data.buffer import ExemplarBuffer, Policy, exemplar_capacity, herding_ranks
from clsuite.errors import UserError


def offer(
    buffer: ExemplarBuffer, rows: Sequence[int], labels: Sequence[int], seed: int = 0, features: object = None
) -> None:
    """Offer images whose pixels are their row."""
    numbers = torch.tensor(rows)
    images = numbers.to(torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)
    generator = torch.Generator().manual_seed(seed)
    given = None if features is None else torch.as_tensor(features)
    buffer.add(images, torch.tensor(labels), numbers, generator, features=given)


def check_alignment(buffer: ExemplarBuffer, label_of: dict[int, int]) -> None:
    assert (buffer.images == buffer.indices[:, None, None, None]).all()
    assert buffer.labels.tolist() == [label_of[row] for row in buffer.indices.tolist()]


SIX_CLASSES: Any = SimpleNamespace(
    table=SimpleNamespace(images=np.zeros((1, 1, 2, 2), np.uint8)),
    classes=tuple("abcdef"),
    tasks=(None,) * 3,
    seen_classes=lambda tasks: 2 * tasks,
)
POLICIES: tuple[Policy, ...] = ("reservoir", "class_balanced", "herding")


@pytest.mark.parametrize("policy", POLICIES)
def test_it_never_holds_more_than_its_capacity(policy: Policy) -> None:
    buffer = ExemplarBuffer(7, policy)
    label_of = {row: row // 10 for row in range(60)}
    features = np.random.RandomState(0).randn(60, 4)
    for start in range(0, 60, 20):
        rows = range(start, start + 20)
        offer(buffer, rows, [label_of[row] for row in rows], start, features[start : start + 20])
        assert len(buffer) == 7
        assert len(set(buffer.indices.tolist())) == 7
        check_alignment(buffer, label_of)


@pytest.mark.parametrize("policy", POLICIES)
def test_it_keeps_all_while_there_is_room(policy: Policy) -> None:
    buffer = ExemplarBuffer(100, policy)
    offer(buffer, range(5), [0, 1, 0, 1, 0], features=np.eye(5))
    offer(buffer, range(5, 8), [2, 2, 2], features=np.eye(5)[:3])
    assert sorted(buffer.indices.tolist()) == list(range(8))


@pytest.mark.slow
def test_a_reservoir_is_a_uniform_sample_of_all_that_was_offered() -> None:
    """Chunks of other sizes, 20 samples, capacity 5, 800 buffers: each sample is kept in a quarter of them."""
    trials, samples, capacity = 800, 20, 5
    kept = np.zeros(samples)
    for trial in range(trials):
        buffer = ExemplarBuffer(capacity, "reservoir")
        for part, chunk in enumerate((range(0, 3), range(3, 12), range(12, 13), range(13, 20))):
            offer(buffer, chunk, [0] * len(chunk), seed=1000 * part + trial)
        kept[buffer.indices.numpy()] += 1
    share = capacity / samples
    statistic = ((kept - trials * share) ** 2 / (trials * share * (1 - share))).sum() * (samples - 1) / samples
    assert kept.sum() == trials * capacity
    assert stats.chi2.sf(statistic, samples - 1) > 0.01


def test_a_reservoir_depends_on_its_generator_alone() -> None:
    def kept(seed: int) -> list[int]:
        buffer = ExemplarBuffer(5, "reservoir")
        offer(buffer, range(30), [0] * 30, seed)
        return buffer.indices.tolist()

    assert kept(0) == kept(0)
    assert kept(0) != kept(1)


def test_classes_share_the_capacity() -> None:
    buffer = ExemplarBuffer(10, "class_balanced")
    offer(buffer, range(40), [row // 20 for row in range(40)])
    assert torch.bincount(buffer.labels).tolist() == [5, 5]
    offer(buffer, range(40, 60), [2] * 20)
    assert sorted(torch.bincount(buffer.labels).tolist()) == [3, 3, 4]
    offer(buffer, range(60, 100), [3] * 20 + [4] * 20)
    assert torch.bincount(buffer.labels).tolist() == [2, 2, 2, 2, 2]


def test_balance_holds_where_classes_are_of_unequal_size() -> None:
    buffer = ExemplarBuffer(10, "class_balanced")
    offer(buffer, range(52), [0] * 50 + [1] * 2)
    assert torch.bincount(buffer.labels).tolist() == [8, 2]


def test_a_reservoir_is_not_balanced_and_a_balanced_buffer_is() -> None:
    labels = [0] * 190 + [1] * 10
    counts = {}
    for policy in ("reservoir", "class_balanced"):
        buffer = ExemplarBuffer(20, policy)
        offer(buffer, range(200), labels)
        counts[policy] = torch.bincount(buffer.labels, minlength=2).tolist()
    assert counts["class_balanced"] == [10, 10]
    assert counts["reservoir"][1] < 5


def test_a_class_is_a_uniform_sample_of_its_own() -> None:
    trials, kept = 600, np.zeros(8)
    for trial in range(trials):
        buffer = ExemplarBuffer(4, "class_balanced")
        offer(buffer, range(4), [0] * 4, trial)
        offer(buffer, range(4, 8), [0, 0, 1, 1], 5000 + trial)
        kept[buffer.indices.numpy()] += 1
    assert kept[6:].tolist() == [trials, trials]
    assert stats.chisquare(kept[:6]).pvalue > 0.01


def herd_by_hand(features: np.ndarray) -> list[int]:
    """iCaRL, algorithm 4, as it is written: the k-th exemplar brings the mean of all k nearest to the class mean."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    mean, chosen = unit.mean(axis=0), []
    for _ in range(len(unit)):
        left = [i for i in range(len(unit)) if i not in chosen]
        distances = [np.linalg.norm(mean - unit[[*chosen, i]].mean(axis=0)) for i in left]
        chosen.append(left[int(np.argmin(distances))])
    return chosen


@pytest.mark.parametrize("seed", range(4))
def test_herding_ranks_are_those_by_hand(seed: int) -> None:
    random = np.random.RandomState(seed)
    labels = random.randint(0, 3, 40)
    features = random.randn(40, 5) * random.uniform(0.5, 20, (40, 1))
    ranks = herding_ranks(torch.tensor(features), torch.tensor(labels)).numpy()
    for label in range(3):
        members = np.flatnonzero(labels == label)
        assert members[np.argsort(ranks[members])].tolist() == members[herd_by_hand(features[members])].tolist()


@pytest.mark.parametrize("seed", range(4))
def test_herding_keeps_the_first_of_each_class_over_several_tasks(seed: int) -> None:
    random = np.random.RandomState(seed)
    buffer = ExemplarBuffer(9, "herding")
    first: dict[int, list[int]] = {}
    for task in range(3):
        rows = np.arange(20 * task, 20 * task + 20)
        labels = 2 * task + random.permutation([0] * 8 + [1] * 12)
        features = random.randn(20, 6)
        for label in (2 * task, 2 * task + 1):
            members = np.flatnonzero(labels == label)
            first[label] = rows[members[herd_by_hand(features[members])]].tolist()
        offer(buffer, rows.tolist(), labels.tolist(), features=features)
        quota, rest = divmod(9, len(first))
        expected = [row for label in first for row in first[label][: quota + (label >= len(first) - rest)]]
        assert sorted(buffer.indices.tolist()) == sorted(expected)


def test_herding_takes_the_sample_nearest_to_the_mean_first() -> None:
    angles = torch.tensor([0.0, 0.5, 0.1, -0.6])
    features = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert herding_ranks(features, torch.zeros(4, dtype=torch.long)).tolist()[0] == 0


def test_bytes_are_images_and_labels() -> None:
    buffer = ExemplarBuffer(3, "reservoir")
    assert buffer.bytes == 0
    offer(buffer, range(5), [0] * 5)
    assert buffer.bytes == 3 * (1 * 2 * 2 + 8)


@pytest.mark.parametrize(("size", "expected"), [(12, 1), (23, 1), (24, 2), (1000, 83)])
def test_a_size_in_bytes_holds_whole_exemplars(size: int, expected: int) -> None:
    capacity = exemplar_capacity(None, size, 12)
    assert capacity == expected
    buffer = ExemplarBuffer(capacity, "reservoir")
    offer(buffer, range(100), [0] * 100)
    assert size - 12 < buffer.bytes <= size


def test_a_number_of_exemplars_is_taken_as_it_is() -> None:
    assert exemplar_capacity(50, None, 12) == 50


@pytest.mark.parametrize(
    ("exemplars", "size", "reason"),
    [
        (None, None, "either capacity .* or capacity_bytes"),
        (5, 100, "either capacity .* or capacity_bytes"),
        (0, None, "capacity is 0, but must be at least 1$"),
        (-1, None, "capacity is -1, but must be at least 1$"),
        (None, 11, "capacity_bytes is 11, but must be at least 12, the size of one exemplar$"),
        (None, 0, "capacity_bytes is 0, but must be at least 12, the size of one exemplar$"),
    ],
)
def test_capacities_that_cannot_be(exemplars: int | None, size: int | None, reason: str) -> None:
    with pytest.raises(UserError, match=f"^mine: .*{reason}"):
        exemplar_capacity(exemplars, size, 12, "mine")


@pytest.mark.parametrize("policy", ["class_balanced", "herding"])
def test_a_buffer_that_classes_share_has_a_place_for_each(policy: Policy) -> None:
    reason = f"^mine: a {policy} buffer of 5 has fewer exemplars than the stream's 6 classes: .* at least 6$"
    for capacity, size in ((5, None), (None, 5 * 12 + 11)):
        with pytest.raises(UserError, match=reason):
            ExemplarBuffer.for_stream(SIX_CLASSES, capacity, size, policy=policy, owner="mine")
    assert ExemplarBuffer.for_stream(SIX_CLASSES, 6, policy=policy).capacity == 6
    assert ExemplarBuffer.for_stream(SIX_CLASSES, 5).capacity == 5


def test_logits_are_part_of_an_exemplars_size() -> None:
    buffer = ExemplarBuffer.for_stream(SIX_CLASSES, None, 10 * (4 + 8 + 4 * 6), logits=True)
    assert buffer.capacity == 10


@pytest.mark.parametrize("policy", ["reservoir", "class_balanced", "herding"])
def test_a_task_is_added_as_its_samples_are(policy: Policy) -> None:
    task: Any = SimpleNamespace(train=np.arange(12))
    reader: Any = SimpleNamespace(
        images_of=lambda indices: torch.from_numpy(indices).to(torch.uint8)[:, None, None, None],
        labels_of=lambda indices: torch.from_numpy(indices) % 3,
        features_of=lambda indices: torch.from_numpy(indices).float()[:, None] - 5.5,
    )
    whole, parts = ExemplarBuffer(5, policy), ExemplarBuffer(5, policy)
    whole.add_task(reader, task, torch.Generator().manual_seed(0))
    parts.add(
        reader.images_of, reader.labels_of(task.train), torch.arange(12), torch.Generator().manual_seed(0),
        features=reader.features_of(task.train),
    )  # fmt: skip
    assert len(whole) == 5
    assert whole.indices.tolist() == parts.indices.tolist()
    given = ExemplarBuffer(5, policy)
    given.add_task(reader, task, torch.Generator().manual_seed(0), features=reader.features_of(task.train))
    assert given.indices.tolist() == whole.indices.tolist()


def test_drawing_is_without_replacement_and_follows_the_generator() -> None:
    buffer = ExemplarBuffer(10, "reservoir")
    offer(buffer, range(50), [row % 3 for row in range(50)])

    def draw(number: int, seed: int) -> list[int]:
        images, labels, rows = buffer.sample(number, torch.Generator().manual_seed(seed))
        assert (images == rows[:, None, None, None]).all()
        assert labels.tolist() == (rows % 3).tolist()
        return rows.tolist()

    assert len(set(draw(6, 0))) == 6
    assert draw(6, 0) == draw(6, 0)
    assert draw(6, 0) != draw(6, 1)
    assert sorted(draw(99, 0)) == sorted(buffer.indices.tolist())


@pytest.mark.parametrize("policy", POLICIES)
def test_state_goes_round_and_the_buffer_goes_on_as_before(policy: Policy) -> None:
    """Also the keys survive: what is offered later meets the same competition."""
    features = np.random.RandomState(1).randn(40, 4)
    label_of = [row // 10 for row in range(40)]
    one, other = ExemplarBuffer(6, policy), ExemplarBuffer(6, policy)
    offer(one, range(20), label_of[:20], 0, features[:20])
    other.load_state_dict({name: value.clone() for name, value in one.state_dict().items()})
    for buffer in (one, other):
        offer(buffer, range(20, 40), label_of[20:], 1, features[20:])
    assert set(one.indices.tolist()) & set(range(20))
    for name, value in one.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)


@pytest.mark.parametrize("policy", POLICIES)
def test_an_empty_buffer_goes_round(policy: Policy) -> None:
    buffer = ExemplarBuffer(4, policy)
    buffer.load_state_dict(ExemplarBuffer(4, policy).state_dict())
    offer(buffer, range(6), [0, 1] * 3, features=np.eye(6))
    assert len(buffer) == 4


def test_the_buffer_does_not_change_what_it_was_given() -> None:
    images = torch.zeros(8, 1, 2, 2, dtype=torch.uint8)
    buffer = ExemplarBuffer(4, "reservoir")
    buffer.add(images, torch.zeros(8, dtype=torch.long), torch.arange(8), torch.Generator())
    images += 1
    assert buffer.images.max() == 0


LONG_TAIL = (200, 120, 70, 42, 25, 15, 9, 5, 3, 2)


@pytest.mark.parametrize("policy", ["class_balanced", "herding"])
def test_on_a_long_tail_every_place_is_used(policy: Policy) -> None:
    """GDumb, algorithm 1: what small classes leave free goes to the others."""
    buffer, features = ExemplarBuffer(100, policy), torch.randn(491, 5)
    starts = np.cumsum((0, *LONG_TAIL))
    for label, (start, number) in enumerate(zip(starts, LONG_TAIL, strict=False)):
        rows = torch.arange(start, start + number)
        images = torch.zeros(number, 1, 2, 2, dtype=torch.uint8)
        draws = torch.Generator().manual_seed(label)
        buffer.add(images, torch.full((number,), label), rows, draws, features=features[rows])
        assert len(buffer) == 100
    counts = torch.bincount(buffer.labels).tolist()
    assert counts[6:] == [9, 5, 3, 2]
    assert sorted(counts[:6]) == [13, 13, 13, 14, 14, 14]


@pytest.mark.slow
def test_with_fewer_places_than_classes_new_classes_still_come_in() -> None:
    """Capacity 6, two classes a task, five tasks: each of ten classes is there in six tenths of the buffers."""
    trials, kept = 400, np.zeros(10)
    for trial in range(trials):
        buffer = ExemplarBuffer(6, "class_balanced")
        for task in range(5):
            rows = range(20 * task, 20 * task + 20)
            offer(buffer, rows, [2 * task + number % 2 for number in range(20)], seed=1000 * task + trial)
        assert sorted(torch.bincount(buffer.labels, minlength=10).tolist()) == [0] * 4 + [1] * 6
        kept[buffer.labels.numpy()] += 1
    statistic = ((kept - trials * 0.6) ** 2 / (trials * 0.6 * 0.4)).sum() * 9 / 10
    assert stats.chi2.sf(statistic, 9) > 0.01


def test_herding_with_fewer_places_than_classes_keeps_the_newest() -> None:
    buffer = ExemplarBuffer(3, "herding")
    for task in range(3):
        offer(buffer, range(4 * task, 4 * task + 4), [2 * task, 2 * task + 1] * 2, features=np.random.randn(4, 3))
    assert sorted(buffer.labels.tolist()) == [3, 4, 5]


@pytest.mark.parametrize("policy", POLICIES)
def test_only_images_that_stay_are_read(policy: Policy) -> None:
    buffer, features, asked = ExemplarBuffer(6, policy), np.random.RandomState(0).randn(300, 4), []

    def read(rows: np.ndarray) -> torch.Tensor:
        asked.append(rows.tolist())
        return torch.from_numpy(rows).to(torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)

    for task in range(3):
        rows, before = torch.arange(100 * task, 100 * task + 100), set(buffer.indices.tolist())
        labels = 2 * task + torch.arange(100) % 2
        given = torch.from_numpy(features)[rows]
        buffer.add(read, labels, rows, torch.Generator().manual_seed(task), features=given)
        assert set(asked.pop() if asked else []) == set(buffer.indices.tolist()) - before
        assert not asked
        assert (buffer.images == (buffer.indices % 256)[:, None, None, None]).all()


def test_a_full_buffer_is_written_in_place() -> None:
    buffer = ExemplarBuffer(50, "reservoir")
    offer(buffer, range(60), [0] * 60)
    place, rows = buffer.images.data_ptr(), buffer.indices.clone()
    offer(buffer, range(60, 200), [0] * 140, seed=1)
    assert buffer.images.data_ptr() == place
    stayed = torch.isin(rows, buffer.indices)
    assert 0 < int(stayed.sum()) < 50
    assert torch.equal(buffer.indices[stayed], rows[stayed])  # what stays keeps its place


@pytest.mark.slow
def test_a_row_that_is_offered_again_counts_again() -> None:
    """Of rows 0 to 4 once and rows 5 to 9 three times, a place holds one of the latter in three quarters of cases."""
    trials, late = 600, 0
    for trial in range(trials):
        buffer, draws = ExemplarBuffer(4, "reservoir"), torch.Generator().manual_seed(trial)
        for epoch in range(3):
            rows = torch.arange(10) if epoch == 0 else torch.arange(5, 10)
            images = torch.zeros(len(rows), 1, 1, 1, dtype=torch.uint8)
            logits = torch.full((len(rows), 2), float(epoch))
            buffer.add(images, rows * 0, rows, draws, logits=logits, again=True)
        late += int((buffer.indices >= 5).sum())
        assert len(buffer) == 4
    share = late / (4 * trials)
    assert abs(share - 0.75) < 4 * (0.75 * 0.25 / (4 * trials)) ** 0.5
    assert set(buffer.logits.flatten().tolist()) <= {0.0, 1.0, 2.0}


def test_a_state_does_not_change_with_the_buffer() -> None:
    buffer, other = ExemplarBuffer(4, "reservoir"), ExemplarBuffer(4, "reservoir")
    offer(buffer, range(8), [0] * 8)
    state = buffer.state_dict()
    kept = {name: value.clone() for name, value in state.items()}
    other.load_state_dict(state)
    for full in (buffer, other):
        offer(full, range(8, 100), [0] * 92, seed=1)
    assert all(torch.equal(value, kept[name]) for name, value in state.items())


def test_herding_ranks_no_more_than_it_is_asked_for() -> None:
    features, labels = torch.randn(40, 5), torch.arange(40) % 2
    whole, part = herding_ranks(features, labels), herding_ranks(features, labels, 3)
    assert torch.equal(part[whole < 3], whole[whole < 3])
    assert torch.isinf(part[whole >= 3]).all()
