"""Checks what a record says about its environment, which must be well-formed and consistent.

Nothing in a record can prove that a run was made on that processor and from that commit.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clsuite.backbones.normalization import MeanAndStd, pretrained_normalization
from clsuite.backbones.spec import BUNDLED, KEYWORDS, OWN, BackboneSpec, find_weights
from clsuite.board.confirmed import our_source
from clsuite.config.error_text import first_mistake
from clsuite.errors import printable
from clsuite.records import RunRecord
from clsuite.records.canonical import canonical_json
from clsuite.records.record import RESULTS_VERSION

LONGEST = 5000
"""Largest number of characters of an environment, three times what those of clsuite take."""
Short = Annotated[str, Field(min_length=1, max_length=200)]
Version = Annotated[str, Field(pattern=r"^\d[\w.+!-]{0,60}$")]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
DISTRIBUTION = re.compile(r"[\w .()+!~-]{1,120}")
OURS = re.compile(r"clsuite \d[\w.+!-]{0,60}")
ALWAYS = (
    "python", "system", "packages", "device", "device_type", "precision", "threads", "commit", "dirty",
    "backbone_sha256", "normalization",
)  # fmt: skip
"""Entries that every run records, even if only as unknown."""
PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
"""The recorded name of each precision that a benchmark can ask for."""


CLOSE = 2e-6
"""Largest rounding error of a mean or a standard deviation."""


class _Normalization(BaseModel):
    """How images are normalized."""

    model_config = ConfigDict(strict=True, extra="forbid")

    mean: Annotated[list[float], Field(min_length=3, max_length=3)]
    std: Annotated[list[float], Field(min_length=3, max_length=3)]


class _Environment(BaseModel):
    """The entries of an environment that are shown, or by which records are compared."""

    model_config = ConfigDict(strict=True, extra="forbid")

    python: Version | None = None
    system: Short | None = None
    packages: dict[Short, Version] | None = None
    device: Short | None = None
    device_type: Literal["cpu", "cuda", "mps", "xpu"] | None = None
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] | None = None
    threads: Annotated[int, Field(ge=1, le=4096)] | None = None
    commit: Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")] | None = None
    dirty: bool | None = None
    backbone_sha256: Hash | None = None
    table_sha256: Hash | None = None
    normalization: _Normalization | None = None
    fast_paths: Literal[False] | None = None


def claim_problem(record: RunRecord) -> str:
    """The problem with what it says of its machine, its versions and its plugins' distributions."""
    return (
        _environment(record)
        or _weights(record)
        or next((reason for entry in record.plugins if (reason := _plugin(entry))), "")
    )


def normalization_problem(record: RunRecord) -> str:
    """The problem with the normalization of images; empty if it is what its backbone needs, or that is not known.

    What backbones other than the bundled one need is known to their libraries only, which take seconds to import.
    """
    backbone = record.config["backbone"]
    recorded = record.environment.get("normalization")
    expected = _normalization(backbone["name"], backbone.get("normalization") or "pretrained")
    if recorded is None or expected is None:
        return ""
    for key, values in expected.items():
        if not np.allclose(recorded[key], values, rtol=0, atol=CLOSE):
            stated = [round(value, 6) for value in values]
            return f"environment.normalization: its {key} is {recorded[key]}, but its backbone asks for {stated}"
    return ""


@cache
def _normalization(name: str, chosen: str) -> MeanAndStd | None:
    try:
        spec = BackboneSpec.model_validate({"name": name, "normalization": chosen})
    except ValidationError:
        return None
    pretrained = pretrained_normalization(name) if chosen == "pretrained" else {}
    return None if pretrained is None else dict(zip(("mean", "std"), spec.mean_and_std(pretrained), strict=True))


def _environment(record: RunRecord) -> str:
    if len(canonical_json(record.environment)) > LONGEST:
        return f"its environment takes more than {LONGEST} characters"
    try:
        found = _Environment.model_validate(record.environment)
    except ValidationError as error:
        return first_mistake(error, "environment", "environment.")
    if missing := next((name for name in ALWAYS if name not in record.environment), ""):
        return f"environment.{missing}: it is missing"
    training: dict[str, Any] = record.config.get("training") or {}
    due = PRECISIONS.get(str(training.get("precision")))
    if found.precision and due and found.precision != due:
        return f"environment.precision: it is {found.precision}, but its training asks for {due}"
    if found.threads and "threads" in training and found.threads != training["threads"]:
        return f"environment.threads: it is {found.threads}, but its training asks for {training['threads']}"
    return ""


def _weights(record: RunRecord) -> str:
    """The problem with the weights of its backbone, which must be those that its configuration names."""
    backbone = record.config["backbone"]
    name, kind, sha256 = backbone["name"], backbone.get("weights"), backbone.get("sha256")
    if kind == OWN and "class" in backbone:
        return "config.backbone.sha256: own weights are no file" if sha256 is not None else ""
    if kind not in (*KEYWORDS, "file") or (kind == "bundled" and name != BUNDLED) or (kind, name) == ("hub", BUNDLED):
        return f"config.backbone.weights: '{printable(str(kind)[:80])}' is not of '{printable(name[:80])}'"
    if kind in ("hub", "random"):
        return f"config.backbone.sha256: {kind} weights are no file" if sha256 is not None else ""
    if kind == "bundled" and record.results_version() == RESULTS_VERSION and sha256 != _bundled_sha256():
        return "config.backbone.sha256: it is not that of the bundled weights"
    known = isinstance(sha256, str) and re.fullmatch(r"[0-9a-f]{64}", sha256)
    return "" if known else "config.backbone.sha256: it is not a hash of a file"


@cache
def _bundled_sha256() -> str | None:
    return find_weights(BackboneSpec(), []).sha256


def _plugin(entry: Any) -> str:
    shipped = our_source(entry.name) is not None
    if not (OURS if shipped else DISTRIBUTION).fullmatch(entry.distribution):
        detail = "but it is of clsuite" if shipped else "which is not a name and version"
        return f"plugin '{printable(entry.name)}' is of '{printable(entry.distribution[:80])}', {detail}"
    return ""
