"""Benchmarks that hypothesis writes: sound ones with something changed, and text that is none."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import yaml
from criterion import broken_promises, fuzzed
from hypothesis import example, given
from hypothesis import strategies as some

SOUND: dict[str, Any] = {
    "name": "own", "title": "t", "dataset": {"name": "digits", "train_per_class": 3, "test_per_class": 2},
    "scenario": {"kind": "class_incremental", "tasks": 5, "order": "seed"}, "limit_tasks": 1,
    "backbone": {"name": "omniglot_vit", "weights": "bundled", "image_size": 32},
    "training": {"epochs": 1, "batch_size": 8, "optimizer": {"name": "sgd", "lr": 0.1}, "augment": ["flip"]},
    "probes": [{"kind": "calibration", "bins": 5}], "evaluation": {"every": 5}, "seeds": [0],
    "methods": {"a": "ncm", "b": {"plugins": ["lwf", {"replay": {"capacity": 20}}], "training": {"epochs": 2}}},
    "more_methods": {"c": ["finetune"]},
}  # fmt: skip
SCALARS = some.one_of(
    some.none(), some.booleans(), some.integers(), some.integers(-3, 70), some.floats(), some.text(max_size=20),
    some.dates(), some.sampled_from(["digits", "image_folder", "replay", "seed", "auto", "~nobody/x", "a/b.py", "{}"]),
)  # fmt: skip
VALUES = some.recursive(
    SCALARS,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a benchmark."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


PLACES = [path for path in places(SOUND) if path]


@some.composite
def changed(draw: some.DrawFn) -> tuple[dict[str, Any], list[str]]:
    """A sound benchmark with one to three things replaced, renamed, added or taken away, and what these are called."""
    content, names = copy.deepcopy(SOUND), list[str]()
    for _ in range(draw(some.integers(1, 3))):
        *above, key = draw(some.sampled_from(PLACES))
        names += [str(part) for part in (*above, key) if not isinstance(part, int)]
        inner: Any = content
        for part in above:
            inner = inner[part] if isinstance(inner, list | dict) and _has(inner, part) else None
        if isinstance(inner, dict):
            names += _change(draw, inner, key)
        elif isinstance(inner, list) and isinstance(key, int) and key < len(inner):
            inner[key] = draw(VALUES)
            names += _texts(inner[key])
    return content, names


def _texts(value: Any) -> list[str]:
    """The texts in a value, which a complaint may name."""
    if isinstance(value, dict):
        return [text for key, inner in value.items() for text in (str(key), *_texts(inner))]
    return [text for inner in value for text in _texts(inner)] if isinstance(value, list) else [str(value)]


def _has(inner: Any, part: Any) -> bool:
    return part in inner if isinstance(inner, dict) else isinstance(part, int) and part < len(inner)


def _change(draw: some.DrawFn, inner: dict[Any, Any], key: Any) -> list[str]:
    """Change a mapping; the answer is what stands there now and a complaint may name."""
    what = draw(some.sampled_from(["replace", "replace", "replace", "rename", "add", "remove"]))
    if what == "replace":
        inner[key] = draw(VALUES)
        return _texts(inner[key])
    if what == "add":
        new = draw(some.text(max_size=12))
        inner[new] = draw(VALUES)
        return [new, *_texts(inner[new])]
    if key in inner:
        value = inner.pop(key)
        if what == "rename":
            letters = list(str(key))
            place = draw(some.integers(0, len(letters) - 1))
            new = "".join([*letters[:place], draw(some.sampled_from("aeiou_")), *letters[place + 1 :]])
            inner[new] = value
            return [new]
    return []


PIECES = some.sampled_from([
    "name: own\n", "dataset: {name: digits}\n", "methods:\n", "  a: ncm\n", "seeds: [0]\n", "- ", "? ", ": ", "&a ",
    "*a", "<<: *a\n", "!!timestamp x\n", "!!int ''\n", "!!python/name:os.system\n", "!!binary x\n", "!own ", "[", "]",
    "{", "}", "'", '"', "|\n", ">\n", "---\n", "...\n", "\t", "%YAML 9.9\n", "# x\n", "\x00", "\ufeff", "\u2028",
    "1e-1", "0x", "~", "null", "yes: 1\n", ".inf", "2020-01-01", "\n", "  ",
])  # fmt: skip
TEXTS = some.lists(PIECES | some.text(max_size=5), max_size=25).map("".join)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """Plans a benchmark of a file with this content; the answer is what is not as promised."""
    folder = tmp_path_factory.mktemp("yaml")
    path = folder / "own.yaml"

    def plan(content: bytes, culprits: Sequence[str] = ("own.yaml",)) -> list[str]:
        path.write_bytes(content)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            return broken_promises(["bench", "own.yaml", "--dry-run", "--out", "out"], folder, culprits)

    return plan


@pytest.mark.slow
@fuzzed(0.2)
@given(made=changed())
def test_sound_benchmarks_with_something_changed(
    planned: Callable[..., list[str]], made: tuple[dict[str, Any], list[str]]
) -> None:
    content, culprits = made
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    assert planned(text.encode("utf-8", "surrogatepass"), culprits) == []


@fuzzed(0.15)
@given(text=TEXTS)
@example("? name: own\n")
@example("name: own\n'': x\n")
def test_text_that_is_hardly_yaml(planned: Callable[..., list[str]], text: str) -> None:
    assert planned(text.encode("utf-8", "surrogatepass")) == []


@fuzzed(0.05)
@given(content=some.binary(max_size=200))
def test_bytes(planned: Callable[..., list[str]], content: bytes) -> None:
    assert planned(content) == []
