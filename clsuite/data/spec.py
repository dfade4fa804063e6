"""The data set in a benchmark file."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from clsuite.config.class_use import CLASS, MaybeOwn, by_entry_point, offered
from clsuite.errors import shortened

HUB = "hf:"
"""The beginning of the name of a data set of Hugging Face."""
SAVED = "hf"
"""The name of one in a folder, whose path is in `path`."""
ON_HUB = re.compile(r"\w[\w.-]*(/[\w.-]+)?")
"""A name on the hub; everything else is a path. A folder of that name, below the data root or here, comes first."""
OF_HUB = ("image", "label", "train", "test", "config", "revision")
"""Fields of such data sets only."""


class DatasetSpec(MaybeOwn):
    """A data set by name, or ``{class: my_package.data:MyData, argument: value}``: a user-defined one.

    For a class, `name`, `train_per_class`, `test_per_class` and `fingerprint` have their usual meaning, and all other
    keys are arguments of its constructor (`clsuite.data.own_data.ImageData`).

    Attributes:
        name: A registered name (`clsuite list datasets`), ``image_folder``, ``sequence``, ``hf:OWNER/NAME`` for a data
            set of Hugging Face's hub, or ``hf:PATH`` for a folder that its ``save_to_disk`` has written.
        path: The folder, absolute, below the data root or beside the benchmark's file. ``image_folder`` needs it (or a
            list of its images); the other data sets have fixed places below the data root.
        split: For an ``image_folder`` or an ``hf:`` data set without a test part: the share of each class that is held
            out for testing, chosen by a hash of each image's content; 0.2 by default. A configuration has it only if it
            is stated.
        layout: ``pilot``: the images must lie in the train and test folders that PILOT distributes, which are the test
            part of many papers. A configuration has it only if it is stated.
        division: ``zscl``: the training and test images of MTIL's code (ZSCL). FGVC-Aircraft, DTD and Flowers have no
            validation images in training; Caltech-101, EuroSAT and SUN397 are divided 80/20 as a whole by PyTorch's
            generator with seed 42, not class by class. The others are divided as ever. A configuration has it only if
            it is stated.
        resize: ``squash``: images are resized to a square, whatever their sides; by default the shorter side is
            resized, and the center cut out. A configuration has it only if it is stated.
        parts: For ``sequence``: the data sets, one after another.
        train_per_class: Use at most this many training images of each class and domain (a fixed choice, independent of
            the seed).
        test_per_class: Use at most this many test images of each class and domain.
        image: For ``hf:``: the column with the images; by default the only one.
        label: For ``hf:``: the column with the labels; by default ``label``, or the only one with names of classes.
        train: For ``hf:``: the split with the training part; by default ``train``.
        test: For ``hf:``: the split with the test part; by default ``test``, or ``validation`` if there is none.
        config: For ``hf:``: the configuration (subset) of a data set that has several.
        revision: For ``hf:``: the revision on the hub, such as a tag or a commit.
        fingerprint: The fingerprint that the data must have, which a benchmark may state.
        download: Whether to download the data into the data root if they are missing and torchvision can. It is not
            part of the configuration in a record.
    """

    KEPT: ClassVar = frozenset({"name", "train_per_class", "test_per_class", "fingerprint"})

    name: str
    parts: tuple[DatasetSpec, ...] = ()
    path: str | None = None
    split: float | None = Field(default=None, gt=0, lt=1)
    layout: Literal["pilot"] | None = None
    division: Literal["zscl"] | None = None
    resize: Literal["squash"] | None = None
    train_per_class: int | None = Field(default=None, ge=1)
    test_per_class: int | None = Field(default=None, ge=1)
    image: str | None = None
    label: str | None = None
    train: str | None = None
    test: str | None = None
    config: str | None = None
    revision: str | None = None
    fingerprint: str | None = None
    download: bool = Field(default=False, exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _named_by_its_class(cls, value: Any) -> Any:
        name = value.get("name") if isinstance(value, dict) else None
        if isinstance(name, str) and name in offered("dataset"):
            from clsuite.data.catalog import DATASETS, SEQUENCES  # which imports NumPy

            value = by_entry_point(value, "dataset", "name", {*DATASETS, *SEQUENCES})
        if isinstance(value, dict) and isinstance(value.get(CLASS), str):
            return {"name": short_class(value[CLASS]), **value}
        if name == HUB or (name == SAVED and isinstance(value, dict) and value.get("path") == ""):
            raise ValueError(f"'{HUB}' names no data set: write {HUB}OWNER/NAME for one of the hub, or {HUB}PATH")
        if isinstance(name, str) and name.startswith(HUB) and ON_HUB.fullmatch(name.removeprefix(HUB)) is None:
            if value.get("path"):
                raise ValueError(f"'{shortened(name)}' is a path already: remove 'path', or write name: hf")
            return {**value, "name": SAVED, "path": name.removeprefix(HUB)}
        return value

    def _without_defaults(self, content: dict[str, Any]) -> dict[str, Any]:
        """Omit fields that are not stated, so that other runs keep their keys."""
        for field in (*OF_HUB, "split", "layout", "division", "resize"):
            if getattr(self, field) is None:
                content.pop(field, None)
        return content


def short_class(name: str) -> str:
    """The name of a class without its module or file: ``MyData`` of ``my_package.data:MyData``."""
    return name.rpartition(":")[2]
