"""The data set in a benchmark file."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from clsuite.config.class_use import CLASS, MaybeOwn, by_entry_point, offered


class DatasetSpec(MaybeOwn):
    """A data set by name, or ``{class: my_package.data:MyData, argument: value}``: a user-defined one.

    For a class, `name`, `train_per_class`, `test_per_class` and `fingerprint` have their usual meaning, and all other
    keys are arguments of its constructor (`clsuite.data.own_data.ImageData`).

    Attributes:
        name: A registered name (`clsuite list datasets`), ``image_folder``, or ``sequence``.
        path: The folder, absolute, below the data root or beside the benchmark's file. ``image_folder`` needs it (or a
            list of its images); the other data sets have fixed places below the data root.
        split: For an ``image_folder`` without a test part: the share of each class that is held out for testing, chosen
            by a hash of each image's content; 0.2 by default. A configuration has it only if it is stated.
        layout: ``pilot``: the images must lie in the train and test folders that PILOT distributes, which are the test
            part of many papers. A configuration has it only if it is stated.
        parts: For ``sequence``: the data sets, one after another.
        train_per_class: Use at most this many training images of each class and domain (a fixed choice, independent of
            the seed).
        test_per_class: Use at most this many test images of each class and domain.
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
    train_per_class: int | None = Field(default=None, ge=1)
    test_per_class: int | None = Field(default=None, ge=1)
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
        return value

    def _without_defaults(self, content: dict[str, Any]) -> dict[str, Any]:
        """Omit `split` and `layout` if they are not stated, so that other runs keep their keys."""
        for name in ("split", "layout"):
            if getattr(self, name) is None:
                content.pop(name, None)
        return content


def short_class(name: str) -> str:
    """The name of a class without its module or file: ``MyData`` of ``my_package.data:MyData``."""
    return name.rpartition(":")[2]
