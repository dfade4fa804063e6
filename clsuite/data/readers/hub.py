"""Data sets of Hugging Face's hub, and folders that its package `datasets` has written with ``save_to_disk``."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clsuite.config.paths import cache_folder
from clsuite.data.file_digests import file_digests
from clsuite.data.manifest import Files, Manifest
from clsuite.data.readers.own import held_out
from clsuite.data.spec import HUB, DatasetSpec
from clsuite.data.table import digest
from clsuite.errors import UserError, did_you_mean, listed, words_of

MARKS = ("dataset_dict.json", "state.json")
"""Files of a folder that ``save_to_disk`` has written: of one with splits, and of one without."""
TRAIN, TESTS = "train", ("test", "validation", "valid", "val")
"""The usual names of the splits; of several test parts the first in this order is used."""
NO_LABEL = -1
"""What data sets write for a label that is not published."""


def is_saved(folder: Path) -> bool:
    """Whether ``save_to_disk`` has written a folder."""
    return any((folder / name).is_file() for name in MARKS)


@dataclass(frozen=True)
class HubData:
    """A data set with images and labels.

    Attributes:
        what: Its name for messages.
        parts: Its training part, and its test part if it has one.
        image: Name of the column with the images.
        label: Name of the column with the labels.
        classes: Names of the classes.
        labels: Labels of each part, indices into `classes`.
    """

    what: str
    parts: Sequence[Any]
    image: str
    label: str
    classes: tuple[str, ...]
    labels: Sequence[NDArray[np.int64]]

    @property
    def identity(self) -> list[Any]:
        """What determines its samples: the digests of its files, and how they are read."""
        names = [sorted(file["filename"] for file in part.cache_files) for part in self.parts]
        found = [file_digests(Path(part[0]).parent, part, cache_folder()) if part else None for part in names]
        digests = [[] if one is None else [row.tobytes().hex() for row in one] for one in found]
        return [digests, [len(part) for part in self.parts], self.image, self.label, self.classes]

    def read(self, folder: Path, spec: DatasetSpec) -> Manifest:
        """Write the encoded images into files, and list them.

        Args:
            folder: An empty folder.
            spec: The data set; only the images that its limits keep are written, if it has a test part.
        """
        sizes = [len(part) for part in self.parts]
        labels = np.concatenate(self.labels)
        names = tuple(f"{number}-{row}" for number, size in enumerate(sizes) for row in range(size))
        listed = Manifest(
            source=Files(folder, names, np.zeros((len(names), 16), dtype=np.uint8)),
            labels=labels,
            domains=np.zeros(len(labels), dtype=np.int64),
            is_test=np.repeat(np.arange(len(sizes)) > 0, sizes),
            classes=self.classes,
        )
        if len(sizes) > 1:
            return self._written(listed.limited(spec.train_per_class, spec.test_per_class))
        whole = held_out(self._written(listed), self.what, spec.split)
        return whole.limited(spec.train_per_class, spec.test_per_class)

    def _written(self, manifest: Manifest) -> Manifest:
        """The manifest, with its files written and their digests."""
        assert isinstance(manifest.source, Files)
        rows: dict[int, list[int]] = {}
        for name in manifest.source.names:
            part, row = map(int, name.split("-"))
            rows.setdefault(part, []).append(row)
        digests = []
        for number, chosen in sorted(rows.items()):
            for place, sample in zip(chosen, self.parts[number].select(chosen), strict=True):
                content = self._content(sample[self.image], number, place)
                (manifest.source.root / f"{number}-{place}").write_bytes(content)
                digests.append(digest(content))
        return replace(manifest, source=replace(manifest.source, digests=np.stack(digests)))

    def _content(self, image: Mapping[str, Any] | None, number: int, row: int) -> bytes:
        """The bytes of an image's file."""
        if image is not None and image.get("bytes"):
            return bytes(image["bytes"])
        path = Path(str((image or {}).get("path") or ""))
        if not path.is_file():
            part = "test" if number else "training"
            raise UserError(f"row {row} of the {part} part of {self.what} has no image in column '{self.image}'")
        return path.read_bytes()


def open_hub(spec: DatasetSpec, folder: Path | None) -> HubData:
    """Open a data set.

    Args:
        spec: The data set.
        folder: The folder that ``save_to_disk`` has written; None for the hub.

    Raises:
        UserError: If the package is not installed, the data set cannot be loaded, or has no such split or column.
    """
    what = f"data set '{HUB}{folder}'" if folder is not None else f"data set '{spec.name}'"
    splits = _splits(_loaded(spec, folder, what))
    parts = _parts(splits, spec, what)
    image = _image_column(parts[0], spec.image, what)
    label = _label_column(parts[0], spec.label, what)
    for part in parts[1:]:
        for column in (image, label):
            _check_column(part, column, f"the test part of {what}")
    values = [list(part[label]) for part in parts]
    names = [name for name in (spec.train or TRAIN, _test_name(splits, spec)) if name is not None]
    for name, part in zip(names, values, strict=False):
        _check_labels(part, label, name, splits, what)
    classes, labels = _numbered(values, parts[0].features[label], label, what)
    return HubData(what, [_encoded(part, image, what) for part in parts], image, label, classes, labels)


def _loaded(spec: DatasetSpec, folder: Path | None, what: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise UserError(f'{what} needs a package that is not installed: pip install "clsuite[hf]"') from error
    datasets.disable_progress_bars()
    with _silent(), nullcontext("") if folder is not None else _hub_access() as unreachable:
        try:
            if folder is not None:
                return datasets.load_from_disk(str(folder))
            return datasets.load_dataset(spec.name.removeprefix(HUB), spec.config, revision=spec.revision)
        except Exception as error:  # of the network, of the hub, or of damaged files
            away = unreachable and isinstance(error, ConnectionError)
            reason = f"{unreachable}, and it is not in the local cache" if away else words_of(error)
            raise UserError(f"cannot load {what}: {reason}") from error


@contextmanager
def _silent() -> Iterator[None]:
    """Inside this context, the packages log nothing: what fails is told once, in one line."""
    loggers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextmanager
def _hub_access() -> Iterator[str]:
    """Why the hub cannot be reached, empty if it can; if not, only its cache is used, and nothing is tried again."""
    import datasets
    from huggingface_hub import constants

    from clsuite.config.network import why_unreachable

    offline = constants.HF_HUB_OFFLINE or datasets.config.HF_HUB_OFFLINE
    unreachable = "" if offline else why_unreachable(constants.ENDPOINT)
    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    if unreachable:
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield unreachable
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def _splits(loaded: Any) -> dict[str, Any]:
    """The splits by name; a data set without splits is a training part."""
    return dict(loaded) if isinstance(loaded, Mapping) else {TRAIN: loaded}


def _test_name(splits: Mapping[str, Any], spec: DatasetSpec) -> str | None:
    others = [name for name in TESTS if name in splits and name != spec.train]
    return spec.test or next(iter(others), None)


def _parts(splits: Mapping[str, Any], spec: DatasetSpec, what: str) -> list[Any]:
    """The training part, and the test part if there is one."""
    names = [spec.train or TRAIN, _test_name(splits, spec)]
    for field, name in zip(("train", "test"), names, strict=True):
        if name is not None and name not in splits:
            error = did_you_mean(f"split of {what}:", name, splits)
            raise UserError(f"{error} Write dataset: {{{field}: NAME}}", field=f"dataset.{field}")
    if names[1] is not None and spec.split is not None:
        raise UserError(f"{what} has the test part '{names[1]}', so that nothing is held out: remove 'split'")
    parts = [splits[name] for name in names if name is not None]
    for name, part in zip(names, parts, strict=False):
        if not len(part):
            raise UserError(f"split '{name}' of {what} is empty: its splits are {listed(splits)}")
    return parts


def _check_column(part: Any, name: str, what: str) -> None:
    if name not in part.features:
        raise UserError(f"{what} has no column '{name}': its columns are {_columns(part)}")


def _columns(part: Any) -> str:
    return listed(f"{name} ({type(feature).__name__})" for name, feature in part.features.items())


def _image_column(part: Any, stated: str | None, what: str) -> str:
    """The column with the images: the stated one, or else the only one."""
    import datasets

    found = [name for name, feature in part.features.items() if isinstance(feature, datasets.Image)]
    if stated is None:
        if len(found) != 1:
            number = len(found) or "no"
            raise UserError(f"{what} has {number} columns of images: name one, as in {{image: NAME}}; {_known(part)}")
        return str(found[0])
    _check_column(part, stated, what)
    feature = part.features[stated]
    if stated not in found and not (isinstance(feature, Mapping) and "bytes" in feature):
        kind = type(feature).__name__
        hint = f"images are in {listed(found)}" if found else "it has no column of images"
        raise UserError(f"column '{stated}' of {what} is of type {kind} and has no images: {hint}")
    return stated


def _known(part: Any) -> str:
    return f"its columns are {_columns(part)}"


def _label_column(part: Any, stated: str | None, what: str) -> str:
    """The column with the labels: the stated one, ``label``, or the only one with names of classes."""
    import datasets

    if stated is not None:
        _check_column(part, stated, what)
        return stated
    named = [name for name, feature in part.features.items() if isinstance(feature, datasets.ClassLabel)]
    if "label" in part.features or len(named) == 1:
        return "label" if "label" in part.features else named[0]
    raise UserError(f"{what} has no column 'label': name the column, as in {{label: NAME}}; {_known(part)}")


def _check_labels(labels: Sequence[Any], column: str, name: str, splits: Mapping[str, Any], what: str) -> None:
    missing = sum(label is None or label == NO_LABEL for label in labels)
    if missing:
        raise UserError(
            f"{missing} of {len(labels)} rows in split '{name}' of {what} have no label in column '{column}': choose "
            f"another split, as in {{test: NAME}}; its splits are {listed(splits)}"
        )


def _numbered(
    values: Sequence[Sequence[Any]], feature: Any, column: str, what: str
) -> tuple[tuple[str, ...], list[NDArray[np.int64]]]:
    """The names of the classes that occur, and the labels as indices of them."""
    names = getattr(feature, "names", None)
    kinds = {type(value) for part in values for value in part}
    if not (kinds <= {int, bool} or kinds == {str}):
        kind = type(feature).__name__
        raise UserError(f"column '{column}' of {what} is of type {kind}, but labels are numbers or texts")
    there = sorted({value for part in values for value in part})
    if untrained := [value for value in there if value not in set(values[0])]:
        first = names[untrained[0]] if names else untrained[0]
        raise UserError(f"class '{first}' of {what} has test images but no training images")
    number = {value: index for index, value in enumerate(there)}
    classes = tuple(str(names[value]) if names else str(value) for value in there)
    return classes, [np.array([number[value] for value in part], dtype=np.int64) for part in values]


def _encoded(part: Any, image: str, what: str) -> Any:
    """A part with its images as the bytes of their files."""
    import datasets

    try:
        return part.select_columns([image]).cast_column(image, datasets.Image(decode=False))
    except Exception as error:  # bytes in a form that the package does not read as images
        raise UserError(f"column '{image}' of {what} has no images: {words_of(error)}") from error
