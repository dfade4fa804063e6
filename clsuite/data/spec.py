"""What a benchmark says about its data set."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class DatasetSpec(BaseModel):
    """A data set by name.

    Attributes:
        name: ``digits`` or ``image_folder``.
        path: For ``image_folder``: the folder, absolute or below the data root.
        parts: For ``sequence``: the data sets, one after another.
        train_per_class: Keep at most this many training images of each class and domain (fixed choice, not by seed).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    parts: tuple[DatasetSpec, ...] = ()
    path: str | None = None
    train_per_class: int | None = Field(default=None, ge=1)
