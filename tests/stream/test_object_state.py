"""The state of objects in the middle of a task: put back into objects that began alike, or refused."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from clsuite.stream.object_state import ObjectStates, UnsavableError
from clsuite.stream.sealed_state import read_state, write_state


class Inner:
    """Something that a plugin keeps."""

    def __init__(self) -> None:
        self.seen = 0


class Kept:
    """What plugins keep, of all kinds."""

    def __init__(self) -> None:
        self.number, self.text, self.nothing = 1, "a", None
        self.tensor, self.half = torch.zeros(3), torch.zeros(2, dtype=torch.bfloat16)
        self.array, self.flag = np.zeros(4, dtype=np.uint8), np.float32(0.5)
        self.inner = Inner()
        self.same_inner, self.listed = self.inner, [self.inner, {"x": self.inner}]
        self.alias = self.tensor
        self.queue: deque[int] = deque(maxlen=2)
        self.known = {1, 2}
        self.torch_generator = torch.Generator().manual_seed(0)
        self.numpy_generator, self.numpy_state = np.random.default_rng(0), np.random.RandomState(0)
        self.python = random.Random(0)
        self.teacher = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.function = len
        self.circle: list[Any] = []
        self.circle.append(self.circle)


def change(kept: Kept) -> None:
    kept.number, kept.text = 2, "b"
    kept.tensor += 1
    kept.half += 0.5
    kept.array = np.arange(3, dtype=np.uint8)
    kept.flag = np.float32(0.1)
    kept.inner.seen = 7
    kept.queue.extend([1, 2, 3])
    kept.known = {5}
    kept.listed.append({(0, 1): [torch.ones(2), "new"]})
    kept.teacher.requires_grad_(False).eval()
    with torch.no_grad():
        kept.teacher[0].weight.fill_(3)
    vars(kept)["later"] = 4
    del kept.nothing
    draws(kept)


def draws(kept: Kept) -> list[float]:
    return [
        float(torch.rand(1, generator=kept.torch_generator)), float(kept.numpy_generator.random()),
        float(kept.numpy_state.rand()), kept.python.random(),
    ]  # fmt: skip


def states(kept: Any) -> ObjectStates:
    return ObjectStates({"kept": kept}, ())


def test_all_that_changed_is_put_back_through_a_file(tmp_path: Any) -> None:
    """It is read with nothing executed; what several know stays one thing."""
    first, second = Kept(), Kept()
    before, after = states(first), states(second)
    change(first)
    write_state(before.save(), tmp_path / "x")
    after.load(read_state(tmp_path / "x"))
    assert (second.number, second.text, vars(second)["later"]) == (2, "b", 4)
    assert not hasattr(second, "nothing")
    assert second.tensor.tolist() == [1, 1, 1]
    assert second.alias is second.tensor
    assert second.half.dtype == torch.bfloat16
    assert second.array.tolist() == [0, 1, 2]
    assert (second.array.dtype, second.flag.dtype, second.flag) == (np.uint8, np.float32, np.float32(0.1))
    assert second.inner.seen == 7
    assert second.same_inner is second.inner is second.listed[0] is second.listed[1]["x"]  # type: ignore[index]
    assert second.listed[2][0, 1][1] == "new"  # type: ignore[index]
    assert (list(second.queue), second.queue.maxlen) == ([2, 3], 2)
    assert second.known == {5}
    assert second.circle[0] is second.circle
    assert second.teacher[0].weight.tolist() == [[3, 3], [3, 3]]
    assert not second.teacher.training
    assert not any(parameter.requires_grad for parameter in second.teacher.parameters())
    assert draws(second) == draws(first)


def replace_function(kept: Any) -> None:
    kept.function = max


def add_object(kept: Any) -> None:
    kept.nothing = Inner()


def take_view(kept: Any) -> None:
    kept.half = kept.tensor[:2]


def take_view_of_array(kept: Any) -> None:
    kept.flag = kept.array[:2]


def write_words(kept: Any) -> None:
    kept.array = np.array(["a"])


@pytest.mark.parametrize("spoil", [replace_function, add_object, take_view, take_view_of_array, write_words])
def test_what_has_no_state_is_refused_by_its_name(spoil: Any) -> None:
    kept = Kept()
    before = states(kept)
    before.save()
    spoil(kept)
    with pytest.raises(UnsavableError, match=r"^kept\."):
        before.save()


def test_a_state_of_other_objects_does_not_fit() -> None:
    kept, other = Kept(), Inner()
    saved = states(kept).save()
    with pytest.raises((AttributeError, KeyError, TypeError)):
        states(other).load(saved)


class Parted:
    """What is one thing when a task begins and two later."""

    def __init__(self) -> None:
        self.weight = nn.Parameter(torch.zeros(2))
        self.anchor = self.weight.detach()
        self.hits = self.draws = torch.zeros(2)
        self.first = self.second = [0]


def test_what_was_one_thing_and_is_two_gets_two_values() -> None:
    kept, again = Parted(), Parted()
    states, restored = (ObjectStates({"kept": one}, ()) for one in (kept, again))
    with torch.no_grad():
        kept.weight.fill_(1)
    kept.anchor, kept.hits, kept.draws = torch.full((2,), 2.0), torch.full((2,), 3.0), torch.full((2,), 4.0)
    kept.first, kept.second = [5], [6]
    restored.load(states.save())
    found = [one.tolist() for one in (again.weight, again.anchor, again.hits, again.draws)]
    assert found == [[1, 1], [2, 2], [3, 3], [4, 4]]
    assert (again.first, again.second) == ([5], [6])


def test_one_object_that_became_two_is_refused() -> None:
    kept, again = Kept(), Kept()
    for one in (kept, again):
        one.listed[0] = one.inner
    states, restored = (ObjectStates({"kept": one}, ()) for one in (kept, again))
    kept.inner = Inner()
    kept.inner.seen = 1
    with pytest.raises(ValueError, match="two values for one Inner"):
        restored.load(states.save())


def test_an_array_and_a_tensor_in_one_memory_are_refused() -> None:
    kept = Kept()
    kept.tensor = torch.from_numpy(kept.array)
    with pytest.raises(UnsavableError, match="shares the memory of"):
        ObjectStates({"kept": kept}, ()).save()
