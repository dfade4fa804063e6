"""Trained models on disk, with their grown head and the state of their plugins; loaded again to predict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from clsuite.backbones.finite import check_finite
from clsuite.backbones.spec import Weights
from clsuite.config.error_text import first_mistake
from clsuite.data.batch import Batch
from clsuite.data.class_names import ClassName
from clsuite.data.table import ImageTable
from clsuite.errors import UserError, printable
from clsuite.learner.batch_size import inference_batch_size
from clsuite.learner.learner import Learner
from clsuite.records import RunRecord, read_record, refuse_other_key
from clsuite.runner.build import build_learner
from clsuite.runner.given_images import checked_images
from clsuite.runner.own_classes import recorded_files
from clsuite.runner.recorded_inputs import refuse_request, restored_plugin
from clsuite.scenarios import KINDS, Scenario, Task
from clsuite.stream.checkpoint import learner_state, load_learner_state
from clsuite.stream.sealed_state import DamagedStateError, read_state, write_state

IN_A_MODEL = ("backbone", "optimizer", "schedule")
"""Parts of a learner that may be user-defined classes."""


class _Shape(BaseModel):
    """The shape of the stream in a saved state, which must match the record's."""

    model_config = ConfigDict(strict=True)

    task_classes: list[list[Annotated[int, Field(ge=0)]]]
    image_shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=3, max_length=3)]
    domains: list[str]
    planned_tasks: Annotated[int, Field(ge=1)] | None = None
    learner: dict[str, Any]

    def refuse_unlike(self, record: RunRecord) -> None:
        """Check that it matches the record's stream.

        Raises:
            ValueError: If it does not; says how they differ.
        """
        size, classes = record.config["backbone"]["image_size"], len(record.scenario.classes)
        if self.image_shape[0] not in (1, 3) or self.image_shape[1:] != [size, size]:
            raise ValueError(f"image_shape {self.image_shape} is not an image of {size} px")
        if len(self.task_classes) != len(record.scenario.task_names):
            raise ValueError(f"task_classes has {len(self.task_classes)} tasks, but the record has others")
        if max((label for task in self.task_classes for label in task), default=0) >= classes:
            raise ValueError(f"task_classes has a class that is not one of the record's {classes}")
        if record.scenario.kind not in KINDS:
            raise ValueError(f"the record's kind of stream, '{printable(record.scenario.kind)}', is unknown")


class TrainedModel:
    """A trained model that predicts.

    Attributes:
        classes: Class names; the column of a logit is the position of its class here.
        learner: The learner, for other uses than prediction.
    """

    def __init__(self, learner: Learner, classes: tuple[str, ...]) -> None:
        """Wrap a learner in eval mode."""
        self.learner, self.classes = learner.eval(), classes

    @torch.inference_mode()
    def logits(self, images: NDArray[np.uint8] | Tensor) -> Tensor:
        """Logits ``[N, seen classes]`` of uint8 images ``[N, C, H, W]`` with the model's image size.

        Raises:
            UserError: If the images have another type or shape, which says what to do with them, or an answer is NaN.
        """
        images = checked_images(images, self.learner.scenario.table.images.shape[1:])
        if not len(images):
            return torch.empty(0, self.learner.seen)
        device = self.learner.device
        at_once = inference_batch_size(images.shape, device)
        with self.learner.autocast():
            starts = range(0, len(images), at_once)
            logits = torch.cat([self._chunk(images[start : start + at_once], device) for start in starts])
        if not bool(torch.isfinite(logits).all()):
            raise UserError(
                "the model predicts NaN or infinite values: what its plugins have kept is damaged; train it again"
            )
        return logits

    def predict(self, images: NDArray[np.uint8] | Tensor) -> NDArray[np.int64]:
        """Stream labels ``[N]`` of images as for `logits`; ``model.classes[label]`` is the name."""
        return self.logits(images).argmax(dim=1).cpu().numpy()

    def _chunk(self, images: NDArray[np.uint8], device: torch.device) -> Tensor:
        pixels = self.learner.backbone.normalize(torch.from_numpy(np.ascontiguousarray(images)).to(device))
        unknown = torch.full((len(images),), -1, device=device)
        return self.learner.predict_logits(Batch(pixels, unknown, unknown, unknown > 0))


def save_model(learner: Learner, record: RunRecord, path: Path) -> None:
    """Save a trained learner; `load_model` reads it beside its record."""
    state: dict[str, Any] = {
        "key": record.key,
        "task_classes": [list(task.classes) for task in learner.scenario.tasks],
        "classes": list(record.scenario.classes),
        "image_shape": list(learner.scenario.table.images.shape[1:]),
        "domains": list(learner.scenario.table.domain_names),
        "planned_tasks": learner.scenario.planned_tasks,
        "learner": learner_state(learner, len(learner.scenario.tasks)),
    }
    write_state(state, path)


def saved_weights(record_path: str | Path) -> dict[str, Tensor]:
    """The weights of the model that a finished run has saved, by name; nothing that the record names is imported.

    Args:
        record_path: The record, or the model beside it.

    Raises:
        UserError: If the record or the model is missing, damaged or edited.
    """
    path = Path(record_path).expanduser()
    record = _finished(path.with_suffix(".json"))
    learner: dict[str, dict[str, Tensor]] = _read(path.with_suffix(".pt"), record)["learner"]
    return learner["parameters"]


def load_model(
    record_path: str | Path,
    *,
    folders: Sequence[str | Path] = (),
    allow_changed: bool = False,
    download: bool = False,
) -> TrainedModel:
    """Load the model of a finished run that was made with ``--save-model``.

    Record and model are treated as data from anyone. Of the plugins in the record, only installed ones are imported,
    and files in `folders` with the name and the hash in the record.

    Args:
        record_path: The record; the model is beside it.
        folders: Folders of plugins that are files. Their code runs; no other folder is searched, not even the current
            one.
        allow_changed: Load it even if a plugin's source has changed since the run.
        download: Allow a backbone that is described on the network (``hf-hub:...``, some CLIPs) to be looked up there.

    Raises:
        UserError: If the record or the model is missing, damaged or edited, or a plugin is no longer installed or has
            changed.
    """
    path = Path(record_path).expanduser()
    record = _finished(path)
    state = _read(path.with_suffix(".pt"), record)
    places = [Path(folder).expanduser() for folder in folders]
    plugins = [
        restored_plugin(
            entry,
            places,
            absent="name its folder with load_model(record, folders=[...])",
            otherwise="load the model all the same with allow_changed=True",
            allow_changed=allow_changed,
        )
        for entry in record.plugins
    ]
    try:
        refuse_request(record.config["backbone"], download, "load it with load_model(record, download=True)")
        files = recorded_files(
            record.config, places, absent="name its folder with load_model(record, folders=[...])", parts=IN_A_MODEL
        )
        learner = build_learner(record, plugins, Weights("random"), files=files)
        learner.start(_without_data(record, state))
        load_learner_state(learner, state["learner"])
    except UserError:
        raise
    except Exception as error:  # a foreign record may contain anything, and a changed plugin may need another state
        raise UserError(f"cannot create the model of '{path}': {_reason(error)}") from error
    check_finite(learner, f"the model '{path.with_suffix('.pt')}'")
    return TrainedModel(learner, tuple(record.scenario.classes))


def _reason(error: Exception) -> str:
    """Why a model cannot be built, in clsuite's words for errors of pydantic or PyTorch."""
    if isinstance(error, ValidationError):
        return first_mistake(error, "its configuration")
    if isinstance(error, KeyError):
        return f"it has no entry {error}"
    if "loading state_dict" in str(error):
        return "its values are not those of the network that the record's configuration describes"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _finished(path: Path) -> RunRecord:
    """The record of a finished run, checked not to be edited."""
    record = read_record(path)
    if record.status != "done":
        raise UserError(f"the run of '{path}' is {record.status}, so it has no model: run the benchmark again")
    refuse_other_key(record, path)
    return record


def _read(path: Path, record: RunRecord) -> dict[str, Any]:
    """The state in a model file that belongs to a record."""
    try:
        state = read_state(path)
    except FileNotFoundError as error:
        raise UserError(f"no model '{path}' beside its record: run the benchmark with --save-model --force") from error
    except DamagedStateError as error:
        raise UserError(
            f"cannot read the model '{path}': {error}. Run the benchmark with --save-model --force"
        ) from error
    if state.get("key") != record.key or state.get("classes") != list(record.scenario.classes):
        raise UserError(f"the model '{path}' belongs to another run than the record beside it")
    try:
        _Shape.model_validate(state).refuse_unlike(record)
    except ValidationError as error:
        raise UserError(f"cannot read the model '{path}': {first_mistake(error, 'it')}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"cannot read the model '{path}': {error}") from error
    return state


def _without_data(record: RunRecord, state: dict[str, Any]) -> Scenario:
    """The stream of a record, with an empty table."""
    empty = np.zeros(0, dtype=np.int64)
    table = ImageTable(
        images=np.zeros((0, *state["image_shape"]), dtype=np.uint8),
        labels=empty,
        domains=empty,
        is_test=empty.astype(np.bool_),
        digests=np.zeros((0, 16), dtype=np.uint8),
        classes=tuple(record.scenario.classes),
        domain_names=tuple(state["domains"]),
        in_prompts=tuple(ClassName(*name) for name in record.scenario.class_names or ()),
    )
    entries = zip(record.scenario.task_names, state["task_classes"], record.scenario.task_fingerprints, strict=True)
    tasks = [
        Task(index, name, tuple(classes), empty, empty, empty, fingerprint)
        for index, (name, classes, fingerprint) in enumerate(entries)
    ]
    planned = state.get("planned_tasks")
    return Scenario(record.scenario.kind, table, empty, tuple(record.scenario.classes), tuple(tasks), planned=planned)
