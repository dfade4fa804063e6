"""Loading data sets: from a specification to a table."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clsuite.config.paths import cache_folder, home_path, near_paths
from clsuite.data.cache import cached_table
from clsuite.data.catalog import DATASETS, MTIL_ORDERS, SEQUENCES
from clsuite.data.class_names import known_as, name_classes
from clsuite.data.dataset import Dataset
from clsuite.data.digits import list_digits
from clsuite.data.file_digests import with_digests
from clsuite.data.fingerprint import check_remembered, check_stated, table_fingerprint
from clsuite.data.locate import DatasetCopy, divided, find_copy, missing_error
from clsuite.data.manifest import Manifest, choose_rows
from clsuite.data.progress import Listener, progress_to
from clsuite.data.quality_warnings import doubts_of, tell, tell_of_table
from clsuite.data.readers.hub import MARKS, is_saved, open_hub
from clsuite.data.readers.own import read_own
from clsuite.data.sequence import load_sequence
from clsuite.data.spec import HUB, OF_HUB, SAVED, DatasetSpec
from clsuite.data.table import ImageTable
from clsuite.errors import AbsentError, UserError, did_you_mean, printable

LoadOwn = Callable[[DatasetSpec, int], ImageTable]
"""Loads a user-defined data set at an image size."""
READERS = 2
"""Version of the readers; increase it when one lists other samples than before, so that old tables are not used."""


def load_dataset(
    name: str,
    root: str | Path | None = None,
    *,
    image_size: int = 224,
    path: str | None = None,
    split: float | None = None,
    layout: Literal["pilot"] | None = None,
    train_per_class: int | None = None,
    test_per_class: int | None = None,
    download: bool = False,
    workers: int | None = None,
    progress: Listener | None = None,
) -> ImageTable:
    """Load a data set by name.

    >>> table = load_dataset("digits", image_size=32)
    >>> table.images.shape, table.classes[:3]
    ((1797, 1, 32, 32), ('0', '1', '2'))

    Args:
        name: A registered name, or ``image_folder``.
        root: The data root.
        image_size: Side of the images in pixels.
        path: The folder, if it is not one of the usual places.
        split: Share of each class to hold out for testing if an ``image_folder`` has no test part; 0.2 by default.
        layout: ``pilot`` if the images must lie in the train and test folders that PILOT distributes.
        train_per_class: Largest number of training images of each class and domain.
        test_per_class: Largest number of test images of each class and domain.
        download: Whether torchvision may download the data.
        workers: Number of decoding processes; one per core by default.
        progress: Called with a description, the number of images done, and their total number.

    Raises:
        UserError: If the data set is unknown, missing or damaged, or differs from the one first loaded.
    """
    spec = DatasetSpec(
        name=name,
        path=path,
        split=split,
        layout=layout,
        train_per_class=train_per_class,
        test_per_class=test_per_class,
        download=download,
    )
    with progress_to(progress or _unheard):
        return load_table(spec, image_size, None if root is None else home_path(root), workers)


def _unheard(what: str, done: int, total: int) -> None:
    pass


def load_table(
    spec: DatasetSpec,
    image_size: int,
    data_root: Path | None = None,
    workers: int | None = None,
    own: LoadOwn | None = None,
) -> ImageTable:
    """Load a data set as a table.

    Args:
        spec: The data set.
        image_size: Side of the images in pixels.
        data_root: Folder in which data are searched.
        workers: Number of decoding processes; one per core by default. The result does not depend on it.
        own: Loads a user-defined data set, whose code is executed.

    Raises:
        UserError: If the data set is unknown, missing or damaged, or differs from the one first loaded.
    """
    if spec.own is None and spec.name in SEQUENCES:
        return load_sequence(spec, lambda part: load_table(part, image_size, data_root, workers, own))
    try:
        if spec.own is not None:
            return _stated(spec, _load_own(spec, image_size, own))
        table = _load_single(spec, image_size, data_root, workers)
        return _stated(spec, replace(table, in_prompts=name_classes(table.classes, known_as(spec))))
    except OSError as error:
        where = f" '{error.filename}'" if error.filename else ""
        raise UserError(f"cannot read data set '{spec.name}'{where}: {error.strerror or error}") from error


def _load_single(spec: DatasetSpec, image_size: int, data_root: Path | None, workers: int | None) -> ImageTable:
    if spec.name == SAVED or spec.name.startswith(HUB):
        return _load_hub(spec, image_size, data_root, workers)
    if stated := [field for field in OF_HUB if getattr(spec, field) is not None]:
        raise UserError(f"data set '{spec.name}' takes no '{stated[0]}': only those of Hugging Face (hf:...) do")
    dataset = find_dataset(spec.name)
    if spec.parts:
        raise UserError(f"data set '{spec.name}' has no parts: only 'sequence' has")
    if spec.split is not None and spec.name != "image_folder":
        raise UserError(f"data set '{spec.name}' has its own test part: only an 'image_folder' takes a split")
    if spec.layout is not None and dataset.pilot is None:
        having = ", ".join(name for name, one in DATASETS.items() if one.pilot)
        raise UserError(f"data set '{spec.name}' has no layout '{spec.layout}': only {having} have")
    if spec.division is not None and spec.name not in MTIL_ORDERS["mtil_i"]:
        raise UserError(f"data set '{spec.name}' has no division '{spec.division}': only those of MTIL have")
    if spec.name == "digits":
        table = _load_digits(spec, image_size, workers)
    elif spec.name == "image_folder":
        table = _load_folder(spec, image_size, data_root, workers)
    else:
        table = _load_registered(spec, dataset, image_size, data_root, workers)
    return table


def _load_own(spec: DatasetSpec, image_size: int, load: LoadOwn | None) -> ImageTable:
    if load is None:
        raise UserError(f"data set '{spec.name}' is a user-defined class, which only a benchmark can use")
    return load(spec, image_size)


def _stated(spec: DatasetSpec, table: ImageTable) -> ImageTable:
    """Check a table against the fingerprint in the benchmark, if there is one, and return it."""
    if spec.fingerprint is not None:
        check_stated(f"data set '{spec.name}'", spec.fingerprint, table_fingerprint(table), "the benchmark")
    return table


def find_dataset(name: str) -> Dataset:
    """Find a data set by name.

    Raises:
        UserError: If the name is unknown.
    """
    if name not in DATASETS:
        error = did_you_mean("data set", name, [*DATASETS, *SEQUENCES])
        error.field = "dataset.name"
        raise error
    return DATASETS[name]


def _load_digits(spec: DatasetSpec, image_size: int, workers: int | None) -> ImageTable:
    if spec.path is not None:
        raise UserError("data set 'digits' takes no path: it comes with scikit-learn")
    content = ["digits", READERS, *_limits(spec)]
    table = cached_table(content, image_size, lambda: _limited(list_digits(), spec), workers=workers)
    tell_of_table("data set 'digits'", table)
    stated = DATASETS["digits"].fingerprint
    if stated is not None and _limits(spec) == [None, None]:
        check_stated("data set 'digits'", stated, table_fingerprint(table), "clsuite")
    return table


def _load_folder(spec: DatasetSpec, image_size: int, data_root: Path | None, workers: int | None) -> ImageTable:
    if spec.path is None:
        raise UserError("data set 'image_folder' needs a path, for example {name: image_folder, path: caltech101}")
    root = locate(spec.path, data_root, "dataset.path")
    return _listed(_limited(read_own(root, spec.split), spec), f"'{root}'", image_size, workers, spec)


def _load_hub(spec: DatasetSpec, image_size: int, data_root: Path | None, workers: int | None) -> ImageTable:
    """The table of a data set of Hugging Face; its images are files only while they are decoded."""
    if spec.name == SAVED and spec.path is None:
        raise UserError("data set 'hf' needs a path; one of the hub is written as {name: hf:OWNER/NAME}")
    data = open_hub(spec, _saved_folder(spec, data_root))
    content = ["hf", READERS, data.identity, spec.split, *_limits(spec)]
    with ExitStack() as stack:

        def read() -> Manifest:
            folder = stack.enter_context(TemporaryDirectory(prefix=".hf-", dir=cache_folder()))
            return data.read(Path(folder), spec)

        table = cached_table(content, image_size, read, workers=workers, squash=spec.resize == "squash")
    tell_of_table(data.what, table)
    return table


def _saved_folder(spec: DatasetSpec, data_root: Path | None) -> Path | None:
    """The folder of a saved data set; None for one of the hub."""
    if spec.path is not None:
        folder = locate(spec.path, data_root, "dataset.path")
        if not is_saved(folder):
            raise UserError(f"'{folder}' was not written by save_to_disk: it has neither of {' and '.join(MARKS)}")
        return folder
    name = spec.name.removeprefix(HUB)
    folders = [Path(name)] if data_root is None else [data_root / name, Path(name)]
    return next((folder for folder in folders if is_saved(folder)), None)


def _load_registered(
    spec: DatasetSpec, dataset: Dataset, image_size: int, data_root: Path | None, workers: int | None
) -> ImageTable:
    copy = _obtain(spec, dataset, data_root)
    what = f"data set '{spec.name}' in '{copy.root}'"
    copy, dataset = divided(spec.division, dataset, copy, what)

    def read() -> Manifest:
        manifest = copy.read()
        dataset.check(manifest, what, copy.layout == "pilot")
        return _limited(manifest, spec)

    if copy.quick:
        table = _listed(read(), what, image_size, workers, spec)
    else:
        content = [spec.name, READERS, copy.contents(cache_folder()), *_limits(spec), *filter(None, [spec.division])]
        table = cached_table(content, image_size, read, workers=workers, squash=spec.resize == "squash")
        tell_of_table(what, table)
    layout = "-".join(filter(None, [copy.layout, spec.division]))
    called = "-".join([spec.name, layout, *("all" if bound is None else str(bound) for bound in _limits(spec))])
    check_remembered(what, called, table_fingerprint(table), cache_folder())
    return table


def _listed(manifest: Manifest, what: str, image_size: int, workers: int | None, spec: DatasetSpec) -> ImageTable:
    """The table of a manifest, keyed by the content of its files, and not by their names, places or times."""
    known = with_digests(manifest, cache_folder())
    tell(what, doubts_of(known))  # with its own names: the table may be that of another folder
    squash = spec.resize == "squash"
    return cached_table(["manifest", known.identity], image_size, lambda: known, workers=workers, squash=squash)


def _obtain(spec: DatasetSpec, dataset: Dataset, data_root: Path | None) -> DatasetCopy:
    """Find a copy of the data, or download them if the specification allows it."""
    folder = None if spec.path is None else locate(spec.path, data_root, "dataset.path")
    pilot = spec.layout == "pilot"
    copy = find_copy(spec.name, dataset, folder, data_root, pilot)
    if copy is None and not pilot and spec.download and dataset.source is not None:
        if data_root is None:
            raise UserError(f"pass --data-root FOLDER to choose where '{spec.name}' is downloaded to")
        data_root.mkdir(parents=True, exist_ok=True)
        dataset.source.download(folder or data_root)
        copy = find_copy(spec.name, dataset, folder, data_root)
    if copy is None:
        raise missing_error(spec.name, dataset, folder, data_root, pilot)
    return copy


def _limits(spec: DatasetSpec) -> list[int | None]:
    return [spec.train_per_class, spec.test_per_class]


def _limited(manifest: Manifest, spec: DatasetSpec) -> Manifest:
    return manifest.limited(spec.train_per_class, spec.test_per_class)


def beside(spec: DatasetSpec, data_root: Path | None, folder: Path) -> DatasetSpec:
    """The specification with absolute paths for data that lie only in the folder of the benchmark's file."""
    changed: dict[str, Any] = {"parts": tuple(beside(part, data_root, folder) for part in spec.parts)}
    if spec.path is not None:
        changed["path"] = path_beside(spec.path, data_root, folder)
    return spec.model_copy(update=changed)


def path_beside(path: str, data_root: Path | None, folder: Path) -> str:
    """A path as it is if `locate` finds it; otherwise the absolute path if it is in the benchmark's folder."""
    try:
        locate(path, data_root)
    except AbsentError:
        own = folder / path
        return str(own.resolve()) if own.exists() else path
    return path


def locate(path: str, data_root: Path | None, field: str | None = None) -> Path:
    """Find data by an absolute path or a path below the data root.

    Args:
        path: The path.
        data_root: The data root, if any.
        field: The field of the benchmark's file that holds the path.

    Raises:
        UserError: If it does not exist; says where it was searched and how to set its place.
    """
    try:
        own = home_path(path)
        tried = [own] if data_root is None else [data_root / path, own]
        found = next((candidate for candidate in tried if candidate.exists()), None)
    except (ValueError, OSError) as error:  # a loop of links, a folder that cannot be read
        place, reason = getattr(error, "filename", None) or path, getattr(error, "strerror", None) or error
        raise UserError(f"cannot use '{printable(str(place))}': {reason}") from error
    if found is not None:
        return found
    where = " or ".join(f"'{candidate}'" for candidate in dict.fromkeys(tried))
    fix = (
        "Correct the path, or give the folder that it is in with --data-root FOLDER."
        if data_root is None
        else "Put it there, or correct --data-root."
    )
    near = next(filter(None, map(near_paths, tried)), "")
    raise AbsentError(f"no data at {where}.{near} {fix}", field=field)


def select_indices(table: ImageTable, per_class: int | None) -> NDArray[np.int64]:
    """The training rows, at most `per_class` of each class and domain, selected by a fixed permutation."""
    return choose_rows(table.labels, table.domains, np.flatnonzero(~table.is_test), per_class, "train_per_class")
