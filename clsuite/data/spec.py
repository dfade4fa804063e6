"""What a benchmark says about its data set."""

from __future__ import annotations

from pydantic import Field

from clsuite.written.spec import Spec


class DatasetSpec(Spec):
    """A data set by name.

    Attributes:
        name: A registered name (`clsuite list datasets`), ``image_folder``, or ``sequence``.
        path: The folder, absolute or below the data root; ``image_folder`` needs it, the others have places of their
            own below the data root.
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
    train_per_class: int | None = Field(default=None, ge=1)
    test_per_class: int | None = Field(default=None, ge=1)
    fingerprint: str | None = None
    download: bool = Field(default=False, exclude=True)
