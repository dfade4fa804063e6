"""The state of objects in the middle of a task: everything that plugins keep, without code of their own.

Between tasks, a plugin declares its state (`clsuite.plugin.base.Plugin.state`). Within a task it keeps more: teachers,
sums, counters, random number generators. After an interruption the plugins' hooks begin the task again, and then
everything that can have changed since is restored: numbers, texts, tensors, arrays and generators, in containers and
in the attributes of objects. Anything else, such as a function, must be the same as at the beginning of the task, and
an object must have existed then. Otherwise it cannot be restored, and saving is refused.

The saved state consists of tensors and plain values, so that reading it executes nothing.
"""

from __future__ import annotations

import copy
import random
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from clsuite.private_api import parts_by_name

PLAIN = (bool, int, float, complex, str, bytes, type(None))
GENERATORS = (torch.Generator, np.random.RandomState, np.random.Generator, random.Random)
OF_TORCH = frozenset(vars(nn.Module()))
"""Attributes that PyTorch gives to each module."""


class UnsavableError(Exception):
    """Something that cannot be saved; the message says where it is."""


class ObjectStates:
    """Records objects at the beginning of a task, saves their state later, and restores it into equal new objects."""

    def __init__(self, roots: Mapping[str, Any], constant: tuple[type, ...]) -> None:
        """Record the objects as they are now.

        Args:
            roots: The objects, by name.
            constant: Types whose objects do not change, such as the stream.
        """
        self._roots, self._constant = dict(roots), constant
        self._first = dict(self._walk())

    def save(self) -> dict[str, Any]:
        """Return the state.

        Raises:
            UnsavableError: If a part of it cannot be restored.
        """
        saver = _Saver(self)
        return {name: saver.encode(root, name) for name, root in self._roots.items()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore a state.

        Raises:
            Exception: Any error, if the state is that of other objects.
        """
        loader = _Loader()
        for name, root in self._roots.items():
            loader.decode(state[name], root, name)

    def is_constant(self, value: Any) -> bool:
        """Whether a value never changes."""
        return isinstance(value, self._constant)

    def is_as_first(self, path: str, value: Any) -> bool:
        """Whether a place has the same value as when the task began; a hook may have been registered again."""
        first = self._first.get(path, self)
        alike = type(first) is type(value)
        return first is value or (alike and (isinstance(value, RemovableHandle) or _equal(first, value)))

    def had_kind(self, path: str, value: Any) -> bool:
        """Whether a place had a value of the same type when the task began."""
        return path in self._first and type(self._first[path]) is type(value)

    def _walk(self) -> Iterator[tuple[str, Any]]:
        seen = set[int]()
        todo = [*reversed(self._roots.items())]  # in the order of saving
        while todo:
            path, value = todo.pop()
            yield path, value
            if type(value) in PLAIN or self.is_constant(value) or id(value) in seen:
                continue
            seen.add(id(value))
            todo += [(f"{path}{key}", inner) for key, inner in reversed(parts_of(value))]


def parts_of(value: Any) -> list[tuple[str, Any]]:
    """The parts of a value, with their places."""
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", inner) for key, inner in value.items()]
    if isinstance(value, list | tuple | deque):
        return [(f"[{number}]", inner) for number, inner in enumerate(value)]
    if isinstance(value, (Tensor, np.ndarray, np.generic, *GENERATORS, *PLAIN)) or not has_attributes(value):
        return []
    return [(f".{name}", inner) for name, inner in attributes(value).items()]


def has_attributes(value: Any) -> bool:
    """Whether the attributes of a value are its state, which is not so for functions, classes and Python modules."""
    kind: Any = type(value)
    plain: Any = object
    own = kind.__reduce_ex__ is plain.__reduce_ex__ and kind.__reduce__ is plain.__reduce__
    return hasattr(value, "__dict__") and (own or isinstance(value, nn.Module)) and not callable_alone(value)


def is_frozen(value: Any) -> bool:
    """Whether a value is a frozen dataclass, which may be shared."""
    parameters: Any = vars(type(value)).get("__dataclass_params__")
    return parameters is not None and bool(parameters.frozen)


def callable_alone(value: Any) -> bool:
    """Whether a value is a function, a method, a class or a Python module."""
    return isinstance(value, type) or type(value).__module__ in ("builtins", "functools", "types", "weakref", "enum")


def attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object; for a PyTorch module its parameters and buffers instead of PyTorch's own fields."""
    if not isinstance(value, nn.Module):
        return dict(vars(value))
    own = {name: inner for name, inner in vars(value).items() if name not in OF_TORCH or name == "training"}
    return own | parts_by_name(value)


def _equal(first: Any, value: Any) -> bool:
    try:
        return bool(first == value)
    except Exception:  # comparing user-defined objects may raise any error
        return False


class _Saver:
    """Turns values into tensors and plain values; a value that is found twice is saved once."""

    def __init__(self, states: ObjectStates) -> None:
        self._states = states
        self._met: dict[int, tuple[str, Any]] = {}
        self._memory: dict[int, str] = {}

    def encode(self, value: Any, path: str) -> Any:
        if type(value) in PLAIN:
            return ["plain", value]
        if self._states.is_constant(value):
            return self._same(value, path)
        if id(value) in self._met:
            return ["again", self._met[id(value)][0]]
        self._met[id(value)] = path, value
        if isinstance(value, Tensor | np.ndarray | np.generic):
            return self._numbers(value, path)
        if isinstance(value, GENERATORS):
            return ["generator", _generator_state(value)]
        if isinstance(value, Mapping | list | tuple | deque):
            return self._container(value, path)
        if isinstance(value, set | frozenset):
            if all(type(one) in PLAIN for one in value):
                return ["set", sorted(value, key=repr)]
        elif has_attributes(value) and self._states.had_kind(path, value):
            return ["object", [[name, self.encode(one, f"{path}.{name}")] for name, one in attributes(value).items()]]
        return self._same(value, path)

    def _same(self, value: Any, path: str) -> Any:
        if not self._states.is_as_first(path, value):
            raise UnsavableError(f"{path} is another {type(value).__name__} than when the task began")
        return ["same"]

    def _numbers(self, value: Any, path: str) -> Any:
        if isinstance(value, np.generic):
            return ["number", torch.from_numpy(np.array(value)), value.dtype.str]
        if isinstance(value, np.ndarray):
            self._refuse_shared(_memory_of(value), path)
            try:
                return ["array", torch.from_numpy(np.array(value))]
            except TypeError as error:
                raise UnsavableError(f"{path} is an array of {value.dtype}") from error
        self._refuse_shared(value.untyped_storage().data_ptr() if value.numel() else id(value), path)
        return ["tensor", value.detach().to("cpu", copy=True), str(value.device), value.requires_grad]

    def _refuse_shared(self, memory: int, path: str) -> None:
        if self._memory.setdefault(memory, path) != path:
            raise UnsavableError(f"{path} shares the memory of {self._memory[memory]}")

    def _container(self, value: Any, path: str) -> Any:
        if isinstance(value, Mapping):
            if not isinstance(value, dict) or not all(type(key) in (*PLAIN, tuple) for key in value):
                return self._same(value, path)
            return ["mapping", [[key, self.encode(one, f"{path}[{key!r}]")] for key, one in value.items()]]
        kind = next(name for name, base in KINDS.items() if isinstance(value, base))
        if kind == "tuple" and type(value) is not tuple:
            return self._same(value, path)
        return [kind, [self.encode(one, f"{path}[{number}]") for number, one in enumerate(value)]]


KINDS: dict[str, Any] = {"list": list, "tuple": tuple, "deque": deque}


def _memory_of(array: Any) -> int:
    """The address of an array's memory, which equals that of a tensor in the same memory."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return int(array.__array_interface__["data"][0]) if array.size else id(array)


def _generator_state(value: Any) -> Any:
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, random.Random):
        return value.getstate()
    state = value.get_state(legacy=False) if isinstance(value, np.random.RandomState) else value.bit_generator.state
    return _plain_arrays(state)


def _plain_arrays(value: Any) -> Any:
    """Arrays as lists: PyTorch does not support all unsigned types."""
    if isinstance(value, dict):
        return {key: _plain_arrays(one) for key, one in value.items()}
    return ["numbers", value.dtype.str, value.tolist()] if isinstance(value, np.ndarray) else value


def _to_arrays(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _to_arrays(one) for key, one in value.items()}
    return np.array(value[2], dtype=value[1]) if isinstance(value, list) else value


class _Loader:
    """Restores saved values into the objects that exist now.

    If one object at the beginning of the task was two when the state was saved, the first is restored into it, and the
    second gets an object of its own.
    """

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._filled: dict[int, Any] = {}  # keeps the objects alive, so that no other object gets their id

    def decode(self, saved: Any, live: Any, path: str) -> Any:
        """Return the value for a place: the existing object if it may be referenced elsewhere."""
        if saved[0] == "again":
            return self._made[saved[1]]
        value = live if saved[0] == "same" else getattr(self, f"_{saved[0]}")(saved, self._free(live, saved[0]), path)
        self._made[path] = value
        return value

    def _free(self, live: Any, kind: str) -> Any:
        """Return the object to restore a value into: the existing one, unless it already got another value.

        Raises:
            ValueError: If it did, and a second object cannot be created.
        """
        if not isinstance(live, Tensor | dict | list | deque) and kind not in ("object", "generator"):
            return live
        place = live.untyped_storage().data_ptr() if isinstance(live, Tensor) and live.numel() else 0
        taken = (place or id(live)) in self._filled
        self._filled[place or id(live)] = live
        if taken and (kind in ("object", "generator") or isinstance(live, nn.Parameter)):
            raise ValueError(f"two values for one {type(live).__name__}")
        return None if taken else live

    def _plain(self, saved: Any, live: Any, path: str) -> Any:
        return saved[1]

    def _tensor(self, saved: Any, live: Any, path: str) -> Any:
        fits = isinstance(live, Tensor) and live.shape == saved[1].shape and live.dtype == saved[1].dtype
        if isinstance(live, nn.Parameter) or (fits and live.is_leaf):
            with torch.no_grad():
                live.copy_(saved[1])
            return live.requires_grad_(saved[3]) if live.is_leaf and live.is_floating_point() else live
        return saved[1].to(saved[2]).requires_grad_(saved[3] and saved[1].is_floating_point())

    def _array(self, saved: Any, live: Any, path: str) -> Any:
        return saved[1].numpy().copy()

    def _number(self, saved: Any, live: Any, path: str) -> Any:
        return saved[1].numpy().astype(saved[2])[()]

    def _generator(self, saved: Any, live: Any, path: str) -> Any:
        if isinstance(live, torch.Generator):
            live.set_state(saved[1])
        elif isinstance(live, random.Random):
            live.setstate(saved[1])
        elif isinstance(live, np.random.RandomState):
            live.set_state(_to_arrays(saved[1]))
        else:
            live.bit_generator.state = _to_arrays(saved[1])
        return live

    def _set(self, saved: Any, live: Any, path: str) -> Any:
        return frozenset(saved[1]) if isinstance(live, frozenset) else set(saved[1])

    def _mapping(self, saved: Any, live: Any, path: str) -> Any:
        live = live if isinstance(live, dict) else {}
        self._made[path] = live
        values = {key: self.decode(one, live.get(key), f"{path}[{key!r}]") for key, one in saved[1]}
        live.clear()
        live.update(values)
        return live

    def _items(self, saved: Any, live: Any, path: str) -> list[Any]:
        before = list(live) if isinstance(live, list | tuple | deque) else []
        before += [None] * (len(saved[1]) - len(before))
        return [self.decode(one, before[number], f"{path}[{number}]") for number, one in enumerate(saved[1])]

    def _list(self, saved: Any, live: Any, path: str) -> Any:
        live = live if isinstance(live, list) else []
        self._made[path] = live
        live[:] = self._items(saved, live, path)
        return live

    def _tuple(self, saved: Any, live: Any, path: str) -> Any:
        return tuple(self._items(saved, live, path))

    def _deque(self, saved: Any, live: Any, path: str) -> Any:
        items = self._items(saved, live, path)
        live = live if isinstance(live, deque) else deque()
        live.clear()
        live.extend(items)
        return live

    def _object(self, saved: Any, live: Any, path: str) -> Any:
        if is_frozen(live):
            live = copy.copy(live)
        self._made[path] = live
        before = attributes(live)
        for name, one in saved[1]:
            value = self.decode(one, before.get(name), f"{path}.{name}")
            if value is not before.get(name, self):
                object.__setattr__(live, name, value) if not isinstance(live, nn.Module) else setattr(live, name, value)
        for name in before.keys() - {name for name, _ in saved[1]}:
            delattr(live, name)
        return live
