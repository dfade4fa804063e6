"""Probes in a benchmark file. Needs no torch."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from clsuite.backbones.templates import resolve_set
from clsuite.config.class_use import CLASS, ClassUse, MaybeOwn, by_entry_point
from clsuite.config.spec import Spec
from clsuite.data.spec import DatasetSpec, short_class
from clsuite.errors import shortened


def _checked_name(name: str) -> str:
    if re.fullmatch(r"\w[\w-]*", name) is None:
        raise ValueError(f"a probe's name may only have letters, digits, '_' and '-', and must not begin with '-': "
                         f"'{shortened(name)}' is not valid")  # fmt: skip
    return name


class _Probe(Spec):
    """Fields of every probe.

    Attributes:
        name: Name in records and tables; by default the kind.
        at: When it is read. ``every_task``: before the stream and after each task. ``ends``: before the stream and
            after the last task only.
    """

    name: Annotated[str, AfterValidator(_checked_name)] | None = None
    at: Literal["every_task", "ends"] = "every_task"


class HeadProbe(_Probe):
    """Accuracy of the original, pre-trained head on the current features, and how far its predictions have moved.

    Attributes:
        path: Folder of the images, absolute or below the data root: ``CLASS/*.webp``, and ``classes.txt`` with the
            folders in the order of the head's outputs (without it they are sorted).
        images_per_class: Largest number of images of each class.
    """

    kind: Literal["head"] = "head"
    path: str
    images_per_class: int | None = Field(default=None, ge=1)


class KnnProbe(_Probe):
    """Weighted k-nearest-neighbor accuracy of the current features in the domain of the pre-training.

    Attributes:
        path: Folder ``CLASS/*``, absolute or below the data root.
        index: Number of images of each class among which neighbors are searched.
        queries: Number of further images of each class that are classified.
        k: Number of neighbors.
        temperature: Temperature of the weights exp(cosine / temperature).
    """

    kind: Literal["knn"] = "knn"
    path: str
    index: int = Field(default=40, ge=1)
    queries: int = Field(default=10, ge=1)
    k: int = Field(default=20, ge=1)
    temperature: float = Field(default=0.07, gt=0)


class LeftOutProbe(_Probe):
    """Accuracy of the method's own predictions on the domains of the data set that no task trains on."""

    kind: Literal["left_out_domains"] = "left_out_domains"


class CalibrationProbe(_Probe):
    """Expected calibration error of the method's own predictions on the test images of the classes seen.

    Attributes:
        bins: Number of bins of equal width.
    """

    kind: Literal["calibration"] = "calibration"
    bins: int = Field(default=15, ge=1)


class ZeroShotProbe(_Probe):
    """Zero-shot accuracy of a CLIP, with its current towers, on images that the stream need not contain.

    Radford et al. 2021, section 3.1: the predicted class is the one whose prompts' mean text feature is nearest by
    cosine; all classes of the set compete. Give either `path` or `dataset`.

    Attributes:
        path: Folder ``CLASS/*``, absolute or below the data root; all its images are classified.
        names: File in that folder with lines ``CLASS<tab>name, other name, ...``; the first name is used. By default
            the names are the folders', or those of WordNet's ids (``n01443537``): OpenAI's of ImageNet's
            classes, WordNet's of all others.
        dataset: A data set as in a benchmark; its test images are classified.
        templates: Prompts as in ``backbone.templates``, which are the default.
        images_per_class: Largest number of images of each class.
    """

    kind: Literal["zero_shot"] = "zero_shot"
    path: str | None = None
    names: str | None = None
    dataset: DatasetSpec | None = None
    templates: tuple[str, ...] = ()
    images_per_class: int | None = Field(default=None, ge=1)

    @field_validator("templates", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return resolve_set(value) if isinstance(value, str | list | tuple) else value

    @model_validator(mode="after")
    def _one_source(self) -> ZeroShotProbe:
        if (self.path is None) == (self.dataset is None):
            raise ValueError("a zero_shot probe needs either a path or a dataset")
        if self.dataset is not None and self.dataset.own is not None:
            raise ValueError("the dataset of a zero_shot probe must be one of clsuite, not a user-defined class")
        if self.names is not None and self.path is None:
            raise ValueError("'names' is a file in the folder of 'path'; a data set has its own names")
        return self


class OwnProbe(MaybeOwn, _Probe):
    """A user-defined probe: ``{class: my_package.probes:MyProbe, name: mine, argument: value}``.

    See `clsuite.probes.own.Probe`. By default it has the name of its class.
    """

    KEPT: ClassVar = frozenset({"name", "at", "kind"})

    kind: Literal["own"] = "own"
    own: ClassUse


def _with_kind(value: Any) -> Any:
    """A probe with a class has the kind ``own``."""
    value = by_entry_point(value, "probe", "kind", READINGS)
    if not isinstance(value, dict) or CLASS not in value:
        return value
    named = {"name": short_class(value[CLASS])} if isinstance(value[CLASS], str) else {}
    return {**named, **value, "kind": "own"}


AnyProbe = HeadProbe | KnnProbe | LeftOutProbe | CalibrationProbe | ZeroShotProbe | OwnProbe
ProbeSpec = Annotated[AnyProbe, Field(discriminator="kind"), BeforeValidator(_with_kind)]


MODELS: dict[str, type[_Probe]] = {
    "head": HeadProbe,
    "knn": KnnProbe,
    "left_out_domains": LeftOutProbe,
    "calibration": CalibrationProbe,
    "zero_shot": ZeroShotProbe,
}
RESERVED = ("_kl", "_change")
"""Suffixes of the names of further readings and columns of a probe."""
COUNTED, ERROR = (True, True), (False, False)
READINGS = {"head": COUNTED, "knn": COUNTED, "left_out_domains": COUNTED, "zero_shot": COUNTED, "calibration": ERROR}


def readings_of(kind: str, name: str) -> dict[str, tuple[bool, bool]]:
    """The readings of a probe: for each, its name, whether higher is better, and whether it has counts.

    Args:
        kind: Kind of the probe.
        name: Name of the probe in records and tables.

    Raises:
        ValueError: If the kind is unknown, or the name is reserved for another probe's readings or columns.
    """
    if kind not in READINGS and kind != "own":
        raise ValueError(f"'{kind}' is not a kind of probe: {', '.join(READINGS)}")
    if name.endswith(RESERVED):
        raise ValueError(f"a probe may not be called '{name}': names that end in {' or '.join(RESERVED)} are taken")
    if kind == "own":
        return {name: COUNTED}  # or as its class declares
    return {name: READINGS[kind], **({f"{name}_kl": ERROR} if kind == "head" else {})}


def check_names(specs: tuple[AnyProbe, ...]) -> tuple[AnyProbe, ...]:
    """Check that no two probes have the same name, and that none has the name of another's reading.

    Raises:
        ValueError: If a name is used twice.
    """
    names = [probe_name(spec) for spec in specs]
    for spec, name in zip(specs, names, strict=True):
        readings_of(spec.kind, name)
        if names.count(name) > 1:
            raise ValueError(f"two probes are called '{name}': give one of them another name")
    return specs


def probe_name(spec: AnyProbe) -> str:
    """The name of a probe in records and tables."""
    return spec.name or spec.kind
