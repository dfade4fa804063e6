"""What a benchmark says about its data set."""

from __future__ import annotations

from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from clsuite.config.spec import Spec


class DatasetSpec(Spec):
    """A data set by name.

    Attributes:
        name: A registered name (`clsuite list datasets`), ``image_folder``, or ``sequence``.
        path: The folder, absolute, below the data root or beside the benchmark's file; ``image_folder`` needs it (or a
            list of its images), the others have places of their own below the data root.
        split: For an ``image_folder`` without a test part: the share of each class that is held out for testing, by a
            hash of each image's content; 0.2 by default. Absent from the configuration where it is not stated.
        parts: For ``sequence``: the data sets, one after another.
        train_per_class: Keep at most this many training images of each class and domain (fixed choice, not by seed).
        test_per_class: Likewise of the test images.
        fingerprint: The fingerprint that the data must have; a benchmark may state it.
        download: Fetch the data into the data root if they are not there, where torchvision can. It is not part of the
            configuration that a record keeps.
    """

    name: str
    parts: tuple[DatasetSpec, ...] = ()
    path: str | None = None
    split: float | None = Field(default=None, gt=0, lt=1)
    train_per_class: int | None = Field(default=None, ge=1)
    test_per_class: int | None = Field(default=None, ge=1)
    fingerprint: str | None = None
    download: bool = Field(default=False, exclude=True)

    @model_serializer(mode="wrap")
    def _without_split(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Where no split is stated there is none in the configuration, so that other runs keep their keys."""
        content: dict[str, Any] = serialize(self)
        if self.split is None:
            content.pop("split", None)
        return content
