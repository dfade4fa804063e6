"""Runs all checks on a method; most of them share one run."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clsuite.conformance import prediction, requirements, side_effects, state, static
from clsuite.conformance.finding import Finding, Outcome, Report
from clsuite.conformance.hook_checks import generator_states
from clsuite.conformance.instrument import overridden
from clsuite.conformance.plugin_under_test import CPU, Factory, Subject, subject_of
from clsuite.conformance.runs import Run, as_error, read_state, run_method
from clsuite.errors import UserError
from clsuite.plugin.catalog import catalog, load_class
from clsuite.plugin.compatibility import check_method as check_composition
from clsuite.plugin.compatibility import scenario_refusal

CHECKS: dict[str, str] = {
    "constructor": "can be built, with typed arguments, and calls super().__init__()",
    "hooks": "overrides existing hooks, with their arguments",
    "trains": "trains on a class-incremental stream",
    "parameters": "creates its parameters before the optimizer, and registers them",
    "loss": "adds a scalar tensor to the loss",
    "batch": "does not modify its batch",
    "loaders": "does not modify the trainer's loaders and optimizers",
    "gradients": "leaves no gradients on frozen weights",
    "counts": "counts the samples of its own training loops",
    "randomness": "does not use the global random generators",
    "leftovers": "has no side effects: hooks, patches, global settings, state in its class",
    "head": "predicts all seen classes, each in its column",
    "prediction": "predicts for each sample on its own",
    "device": "works on any device",
    "deterministic": "is reproducible with the same seed",
    "resumes": "resumes bit-identically after an interruption",
    "saves": "is saved and loaded, and predicts the same",
    "memory": "declares correctly what it stores",
    "requires": "declares correctly what it requires",
    "domains": "trains on a domain-incremental stream",
    "with replay": "can be combined with replay",
    "with pet": "can be combined with LoRA (pet)",
}
"""The checks in order, each with a statement about a plugin that passes."""

PARTNERS = {"replay": {"capacity": 12}, "pet": {"size": 2}}


@dataclass
class Examination:
    """A method under test, with the data that the checks share.

    Attributes:
        subjects: Its plugins.
        training: Training options.
        folder: Folder of the checkpoints.
        kind: Kind of the stream of the main run.
        run: The finished main run.
        answers: Its predictions for all test images, once they are made.
        skipped: Reasons for skipped checks.
    """

    subjects: list[Subject]
    training: dict[str, Any]
    folder: Path
    kind: str
    run: Run
    answers: Any = None
    skipped: dict[str, str] = field(default_factory=dict)


def check_method(
    plugins: Sequence[Factory | Subject],
    *,
    training: Mapping[str, Any] | None = None,
    device: torch.device = CPU,
    partners: Mapping[str, Mapping[str, Any]] = PARTNERS,
    heard: Callable[[str], None] = lambda step: None,
) -> Report:
    """Run all checks on a method, on tiny streams.

    Args:
        plugins: Factories of the plugins of the method (classes, or functions without arguments), in order.
        training: Training options that the method needs, such as ``{"head": "zero_shot"}``.
        device: The device of the runs.
        partners: Registered plugins, with their arguments, that it is combined with if this is allowed.
        heard: Receives the name of each check before it begins.

    Returns:
        The outcome of each check.

    Raises:
        UserError: If the source of a plugin cannot be read, or the plugins cannot be combined.
    """
    started = time.perf_counter()
    subjects = [replace(one if isinstance(one, Subject) else subject_of(one), device=device) for one in plugins]
    with _globals_restored(), tempfile.TemporaryDirectory() as folder:
        found, skipped = _examine(subjects, dict(training or {}), partners, Path(folder), heard)
    if any(finding.certain for finding in found):
        found = [finding for finding in found if finding.certain]
    outcomes = []
    for name, title in CHECKS.items():
        places = {(one.file, one.line): one for one in reversed(found) if one.check == name}
        own = tuple(reversed(places.values()))
        outcomes.append(Outcome(name, title, own, "" if own else skipped.get(name, "")))
    method = "+".join(subject.name for subject in subjects)
    return Report(method, tuple(outcomes), time.perf_counter() - started)


def _examine(
    subjects: list[Subject],
    training: dict[str, Any],
    partners: Mapping[str, Mapping[str, Any]],
    folder: Path,
    heard: Callable[[str], None],
) -> tuple[list[Finding], dict[str, str]]:
    heard("constructor")
    found = [finding for subject in subjects for finding in static.check_source(subject)]
    built = list(_build(subjects))
    if built:
        return found + built, dict.fromkeys(CHECKS, "it cannot be created")
    kind = _main_kind(subjects)
    check_composition([(one.name, one.declared) for one in subjects], kind)
    functions = side_effects.functions()
    classes = [side_effects.class_state(one.cls) for one in subjects]
    heard("trains")
    run = run_method(subjects, kind, training, folder=folder)
    found += side_effects.patched_functions(subjects[0], side_effects.restore(functions))
    found += [finding for watch in run.watches for finding in watch.findings]
    if run.error is not None:
        found.append(_of_main_run(subjects, run.error))
        return found, dict.fromkeys(CHECKS, "it does not train")
    examination = Examination(subjects, training, folder, kind, run)
    for place, subject in enumerate(subjects):
        found += [*side_effects.changed_class(subject, classes[place]), *_of_state(subject, run, place)]
    found += _changes_something(examination)
    for name, step in {"saves": _saved, "prediction": _answered, "resumes": _resumed, "domains": _domains}.items():
        heard(name)
        found += step(examination)
    heard("requires")
    found += requirements.of_backbone(subjects, kind, training, run)
    for partner, arguments in partners.items():
        heard(f"with {partner}")
        found += _with(examination, partner, arguments)
    side_effects.restore(functions)
    heard("device")
    for place, subject in enumerate(subjects):
        found += prediction.on_another_device(subject, run, place)
    return found, examination.skipped


def _build(subjects: list[Subject]) -> Iterator[Finding]:
    """Create each plugin and look up its hooks, which may be properties that raise errors."""
    for subject in subjects:
        try:
            plugin = subject.make()
            for hook in overridden(type(plugin)):
                getattr(plugin, hook)
        except UserError:
            raise
        except BaseException as error:  # a constructor may raise any error
            yield state.crash([subject], as_error(error), "constructor", "creating it ends with")


def _main_kind(subjects: list[Subject]) -> str:
    """Class-incremental, or else the first kind of stream that the method can learn."""
    kinds = ["class_incremental", "domain_incremental", *subjects[0].cls.traits.scenarios]
    for kind in kinds:
        if all(not scenario_refusal(one.cls.traits, kind) for one in subjects):
            return kind
    return kinds[0]


def _of_main_run(subjects: list[Subject], error: Exception) -> Finding:
    finding = state.crash(subjects, error, "trains", "training on a class-incremental stream ends with")
    if isinstance(error, UserError) and "CLIP" in str(error):
        fix = 'declare it: traits = Traits(requires=("clip",))'
        line = subjects[0].line_of(error) or subjects[0].lines.of_traits()
        return subjects[0].finding("requires", str(error), fix, line)
    return finding


def _of_state(subject: Subject, run: Run, place: int) -> Iterator[Finding]:
    yield from side_effects.patched_instances(subject, run)
    yield from side_effects.repeated_hooks(subject, run)
    yield from side_effects.unregistered(subject, run, place)
    yield from state.plain_states(subject, run.plugins[place])
    yield from state.truly_declared(subject, run, place)
    yield from prediction.columns_in_place(subject, run)


def _changes_something(examination: Examination) -> Iterator[Finding]:
    """Check that a method that trains by gradient changes some weights."""
    subjects, run = examination.subjects, examination.run
    if any(one.cls.traits.gradient_free for one in subjects):
        return
    first = read_state(examination.folder / "1.ckpt")
    if first is None:
        return
    before, learner = first["parameters"], run.stream.learner
    now = learner.state_dict()
    kept = {name for name, value in learner.named_parameters() if value.requires_grad and name not in before}
    made_for_the_task = any(name.startswith("plugin_modules.") for name in kept)
    if not made_for_the_task and all(torch.equal(value, now[name].cpu()) for name, value in before.items()):
        yield subjects[0].finding(
            "trains",
            "no weight of the model has changed since the first task",
            "leave something trainable, or declare Traits(gradient_free=True)",
            subjects[0].lines.of_class(),
        )


def _answered(examination: Examination) -> Iterator[Finding]:
    for subject in examination.subjects:
        if "predict" in subject.declared.hooks or len(examination.subjects) == 1:
            yield from prediction.batch_independent(subject, examination.run, examination.answers)


def _saved(examination: Examination) -> Iterator[Finding]:
    """Check that the saved and loaded model makes the same predictions."""
    subjects, run = examination.subjects, examination.run
    rows = prediction.test_rows(run.stream.scenario)
    images = run.stream.scenario.table.images[rows]
    examination.answers = prediction.predict(run.stream.learner, images).argmax(dim=1).numpy()
    try:
        loaded = state.load_again(subjects, run, examination.training)
        again = prediction.predict(loaded, images).argmax(dim=1).numpy()
    except BaseException as error:  # any error of a plugin
        yield state.crash(subjects, as_error(error), "saves", "saving and loading the trained model ends with")
        return
    changed = int((again != examination.answers).sum())
    if changed:
        yield subjects[0].finding(
            "saves",
            f"{changed} of {len(again)} predictions differ after saving and loading",
            "return everything that prediction needs from state_dict(), and recreate modules in rebuild_modules()",
            subjects[0].lines.of_hook("state_dict"),
        )


def _resumed(examination: Examination) -> Iterator[Finding]:
    given = (examination.subjects, examination.run, examination.kind, examination.training, examination.folder)
    yield from state.resumed(*given)
    yield from state.repeated(*given)


def _domains(examination: Examination) -> Iterator[Finding]:
    if examination.kind == "domain_incremental":
        return
    try:
        check_composition([(one.name, one.declared) for one in examination.subjects], "domain_incremental")
    except UserError as error:
        examination.skipped["domains"] = f"refused: {error}"
        return
    yield from _runs_without_error(examination, examination.subjects, "domain_incremental", "domains", None)


def _with(examination: Examination, partner: str, arguments: Mapping[str, Any]) -> Iterator[Finding]:
    """Run the method with a partner on two tasks, if they can be combined."""
    check = f"with {partner}"
    info = catalog().get(partner)
    if info is None or info.source is None:
        examination.skipped[check] = f"plugin '{partner}' is not installed"
        return
    cls = load_class(info)
    if any(one.cls is cls for one in examination.subjects):
        examination.skipped[check] = f"it is {partner} itself"
        return
    other = replace(subject_of(lambda: cls(**arguments), cls, partner), device=examination.subjects[0].device)
    subjects = [other, *examination.subjects]
    try:
        check_composition([(one.name, one.declared) for one in subjects], examination.kind)
    except UserError as error:
        examination.skipped[check] = f"refused: {error}"
        return
    yield from _runs_without_error(examination, subjects, examination.kind, check, 2)


def _runs_without_error(
    examination: Examination, subjects: list[Subject], kind: str, check: str, stop: int | None
) -> Iterator[Finding]:
    run = run_method(subjects, kind, examination.training, stop=stop, brief=True)
    if isinstance(run.error, UserError) and not requirements.FAILED.search(str(run.error)):
        examination.skipped[check] = f"refused: {run.error}"
        return
    if run.error is not None:
        what = f"a {kind.replace('_', '-')} stream" if check == "domains" else f"training {check}"
        own = [one for one in subjects if one in examination.subjects]
        yield state.crash(own, run.error, check, f"{what} ends with")
        return
    for watch in run.watches:
        if watch.subject in examination.subjects:
            yield from watch.findings


@contextmanager
def _globals_restored() -> Iterator[None]:
    """Restore the global generators and settings afterwards, which Lightning sets for each task."""
    import random

    states, threads = generator_states(), torch.get_num_threads()
    deterministic, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
            torch.set_num_threads(threads)
            torch.set_grad_enabled(True)
            torch.set_rng_state(states["torch"])
            np.random.set_state(states["numpy.random"])
            random.setstate(states["random"])
