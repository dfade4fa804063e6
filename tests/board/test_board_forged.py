"""Forged records: a published one with something in it made better, or other, than it was, and the key made anew.

`ONLY_A_RERUN` is what nothing in a record proves; it is listed in ``docs/security.md``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsuite.board.layout import Leaderboard
from clsuite.board.publish import Outcome, add_records
from clsuite.board.validate.streams import Streams
from clsuite.records import RunRecord, read_predictions, read_record, rescore, write_predictions, write_record
from clsuite.runner.streams import stream_loader

ROOT = Path(__file__).parents[2]
Content = dict[str, Any]
Arrays = dict[str, Any]
Forgery = Callable[[Content, Arrays], Any]


def published(method: str, seed: int) -> Path:
    """The published record of a method in the quickstart, whose data come with scikit-learn."""
    folder = ROOT / "leaderboard" / "records" / "quickstart" / method
    records = (path for path in sorted(folder.glob("*.json")) if not path.name.endswith(".rerun.json"))
    return next(path for path in records if json.loads(path.read_text())["seed"] == seed)


@pytest.fixture(scope="module")
def streams() -> Streams:
    return Streams(None)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory, streams: Streams) -> Path:
    """A board that has other methods of that seed, and another seed of that method."""
    folder = tmp_path_factory.mktemp("forged")
    rows = [published("ncm", 0), published("finetune", 0), published("replay", 1)]
    outcomes = add_records(rows, Leaderboard(folder / "board"), False, False, streams.judge)
    assert [one.verdict for one in outcomes] == ["added"] * 3, outcomes
    return folder / "board"


def offered(forgery: Forgery, tmp_path: Path, board: Path, streams: Streams) -> Outcome:
    """What becomes of a forged record, on a copy of the board."""
    path = published("replay", 0)
    content, arrays = json.loads(path.read_text()), dict(read_predictions(path.with_suffix(".npz")))
    forgery(content, arrays)
    record = RunRecord.model_validate(content)
    forged = tmp_path / "forged.json"
    write_record(record.model_copy(update={"key": record.recomputed_key(), "predictions": None}), forged)
    write_predictions(forged.with_suffix(".npz"), arrays)
    shutil.copytree(board, tmp_path / "board")
    (outcome,) = add_records([forged], Leaderboard(tmp_path / "board"), False, False, streams.judge)
    return outcome


def cost(**changes: Any) -> Forgery:
    return lambda content, arrays: content["cost"].update(changes)


def task(index: int = 2, **changes: Any) -> Forgery:
    return lambda content, arrays: content["tasks"][index].update(changes)


def environment(**changes: Any) -> Forgery:
    return lambda content, arrays: content["environment"].update(changes)


def scenario(**changes: Any) -> Forgery:
    return lambda content, arrays: content["scenario"].update(changes)


def counted(content: Content, arrays: Arrays) -> None:
    content["counts"] = rescore(arrays).model_dump(mode="json")


def label_as_predicted(content: Content, arrays: Arrays) -> None:
    wrong = int(np.flatnonzero(arrays["class_incremental"][-1] != arrays["labels"])[0])
    arrays["labels"][wrong] = arrays["class_incremental"][-1][wrong]
    counted(content, arrays)


def all_right(content: Content, arrays: Arrays) -> None:
    arrays["class_incremental"][-1] = arrays["task_aware"][-1] = arrays["labels"]
    counted(content, arrays)


def huge_answers(content: Content, arrays: Arrays) -> None:
    for name in ("class_incremental", "task_aware"):
        arrays[name] = arrays[name].astype(np.int64)
        arrays[name][-1][arrays[name][-1] != arrays["labels"]] = 10**12
    counted(content, arrays)


def seen_too_early(content: Content, arrays: Arrays) -> None:
    arrays["class_incremental"][1] = arrays["labels"]
    counted(content, arrays)


def of_other_parts(content: Content, arrays: Arrays) -> None:
    arrays["task_aware"][-1] = (arrays["task_aware"][-1] + 5) % 10
    counted(content, arrays)


def other_wrong_answers(content: Content, arrays: Arrays) -> None:
    last, labels = arrays["class_incremental"][-1], arrays["labels"]
    wrong = last != labels
    last[wrong] = np.where((last[wrong] + 1) % 10 == labels[wrong], (last[wrong] + 2) % 10, (last[wrong] + 1) % 10)
    counted(content, arrays)


def parts_exchanged(content: Content, arrays: Arrays) -> None:
    arrays["task"] = arrays["task"].max() - arrays["task"]
    counted(content, arrays)


def fewer_images(content: Content, arrays: Arrays) -> None:
    keep = (arrays["class_incremental"][-1] == arrays["labels"]) | (np.arange(len(arrays["labels"])) % 2 == 0)
    for name in arrays:
        arrays[name] = arrays[name][..., keep]
    counted(content, arrays)


def flops(content: Content, arrays: Arrays) -> None:
    samples = sum(one["gradient_samples"] for one in content["tasks"])
    content["cost"].update(forward_flops_per_image=1000, training_flops=3000 * samples)


def fewer_samples(content: Content, arrays: Arrays) -> None:
    for one in content["tasks"]:
        one["gradient_samples"] = one["gradient_samples"] // 2
    samples = sum(one["gradient_samples"] for one in content["tasks"])
    content["cost"]["training_flops"] = 3 * content["cost"]["forward_flops_per_image"] * samples


def trained(content: Content, arrays: Arrays) -> None:
    content["cost"]["trainable_parameters"] = 1000
    for one in content["tasks"]:
        one["trainable_parameters"] = 1000


def of_joint(content: Content, arrays: Arrays) -> None:
    arrays.update(read_predictions(published("joint", 0).with_suffix(".npz")))
    counted(content, arrays)


def rename_class(content: Content, arrays: Arrays) -> None:
    content["scenario"]["classes"][0] = "cat"


def right_where_all_compete(content: Content, arrays: Arrays) -> None:
    arrays["class_incremental"][-1] = arrays["labels"]
    arrays["task_aware"][-1] = (arrays["labels"] // 2) * 2
    counted(content, arrays)


def nothing_through_the_backbone(content: Content, arrays: Arrays) -> None:
    for one in content["tasks"]:
        one["frozen"] = True
    content["cost"]["training_flops"] = 0


def fixed_or_not_unsaid(content: Content, arrays: Arrays) -> None:
    for one in content["tasks"]:
        del one["frozen"]
    content["cost"]["training_flops"] = 0


def without(name: str) -> Forgery:
    return lambda content, arrays: content["environment"].pop(name)


def curves(right: int = 20, **changes: Any) -> Forgery:
    """Curves within tasks that nobody measured."""

    def forge(content: Content, arrays: Arrays) -> None:
        number = len(content["tasks"])
        for name in changes.pop("asked", []):
            content["config"][name] = {"every": 5, "samples": 20}
        counts = [[[right] * (task + 1) + [0] * (number - task - 1)] for task in range(number)]
        content["within_task"] = {
            "every": 5, "n": [20] * number, "learned": [*range(number)],
            "tasks": [{"steps": [one["steps"]], "class_incremental": count, "task_aware": count}
                      for one, count in zip(content["tasks"], counts, strict=True)],
            **changes,
        }  # fmt: skip

    return forge


def search(**changes: Any) -> Forgery:
    """A search that chose what the run has, at no cost worth speaking of."""

    def forge(content: Content, arrays: Arrays) -> None:
        capacity = content["plugins"][0]["args"]["capacity"]
        trial = {"values": {"capacity": capacity}, "score": 0.9, "gradient_samples": 99, "seconds": 1.0}
        content["tuning"] = {
            "metric": "final_accuracy_macro", "space": "capacity: 1..9", "sampler": "grid", "sampler_seed": 0,
            "tasks": 3, "validation": 0.1, "seed": 0, "chosen": trial["values"],
            **{key: value for key, value in changes.items() if key != "trial"},
            "trials": [{**trial, **changes.get("trial", {})}],
        }  # fmt: skip

    return forge


FORGERIES: dict[str, tuple[Forgery, str]] = {
    "a count": (
        lambda content, arrays: content["counts"]["class_incremental"][-1].__setitem__(0, 0), "does not follow from",
    ),
    "both counts": (
        lambda content, arrays: [content["counts"][name][-1].__setitem__(0, 1) for name in
                                 ("class_incremental", "task_aware")], "does not follow from",
    ),
    "the number of images": (
        lambda content, arrays: content["counts"]["n"].__setitem__(0, 999), "counts.n does not follow from",
    ),
    "a label": (label_as_predicted, "labels beside its predictions are not those of the stream|both are of the same"),
    "parts exchanged": (parts_exchanged, "the task beside its predictions are not those of the stream"),
    "wrong answers left out": (fewer_images, "the labels beside its predictions are not those of the stream"),
    "answers of 10^12": (huge_answers, "names classes that are not seen by then"),
    "answers of classes to come": (seen_too_early, "classes that are not seen by then|both are of the same logits"),
    "answers of other parts": (of_other_parts, "names classes of other parts|both are of the same logits"),
    "another seed": (lambda content, arrays: content.update(seed=7), "its stream is not the one that the data give"),
    "the published other seed": (lambda content, arrays: content.update(seed=1), "is not the one|another run of it"),
    "another configuration": (
        lambda content, arrays: content["config"]["training"].update(epochs=77), "is not what benchmark|differs from",
    ),
    "another capacity": (
        lambda content, arrays: content["plugins"][0]["args"].update(capacity=10), "its plugins is not what benchmark",
    ),
    "another kind": (scenario(kind="domain_incremental"), "but its configuration asks for"),
    "a stream's fingerprint": (scenario(fingerprint="ab" * 32), "its stream is not the one that the data give now"),
    "task fingerprints": (scenario(task_fingerprints=["ab" * 32] * 5), "its scenario.task_fingerprints is not that"),
    "task names": (scenario(task_names=["easy"] * 5), "its scenario.task_names is not that of the stream"),
    "part names": (scenario(part_names=["easy"] * 5), "its scenario.part_names is not that of the stream"),
    "a class name": (rename_class, "its scenario.classes is not that of the stream: 'cat' in the record"),
    "fewer steps": (task(steps=1), "task 3: it says 1 steps, but its training takes"),
    "more steps": (task(steps=10**6), "task 3: it says 1000000 steps, but its training takes"),
    "fewer gradient samples": (fewer_samples, "gradient samples, but its training takes"),
    "more gradient samples": (task(gradient_samples=10**7), "FLOPs of training, but its samples take|gradient samples"),
    "no gradient samples": (task(gradient_samples=0), "FLOPs of training, but its samples take|gradient samples"),
    "fewer trained parameters": (trained, "its trainable_parameters is 1000, but 932170 in"),
    "parameters that the cost alone names": (cost(trainable_parameters=7), "trained parameters, but its tasks at"),
    "more trained parameters than there are": (cost(trainable_parameters=10**9), "trained parameters"),
    "fewer parameters": (cost(total_parameters=932_169), "932170 trained parameters of 932169 in all"),
    "one parameter more": (cost(total_parameters=932_171), "but backbone and head have 932170"),
    "more parameters": (cost(total_parameters=10**8), "but backbone and head have 932170"),
    "nothing stored": (cost(stored_bytes={}), "its plugins store exemplars, and it says nothing of that"),
    "hardly anything stored": (cost(stored_bytes={"exemplars": 1}), "its stored_bytes.exemplars is 1, but"),
    "too much stored": (cost(stored_bytes={"exemplars": 10**12}), "are more than|stored_bytes.exemplars"),
    "something else stored": (cost(stored_bytes={"gold": 1}), "cost.stored_bytes.gold: its plugins store no gold"),
    "FLOPs of training": (cost(training_flops=1), "its cost names 1 FLOPs of training, but its samples take"),
    "FLOPs of an image": (cost(forward_flops_per_image=1), "FLOPs of training, but its samples take"),
    "all FLOPs": (flops, "FLOPs for an image|forward_flops_per_image is 1000, but"),
    "seconds without end": (lambda content, arrays: content.update(seconds=5e9), "it says that something took 5e\\+09"),
    "no second of training": (
        lambda content, arrays: [one.update(train_seconds=0.0) for one in content["tasks"]], "no processor makes",
    ),
    "no memory": (cost(peak_memory_bytes=1), "its cost names 1 bytes of peak memory"),
    "memory without end": (cost(peak_memory_bytes=2**50), "bytes of peak memory"),
    "no processor": (environment(device=""), "environment.device is '', but must have at least"),
    "a processor of many words": (environment(device="fast " * 100), "but must have at most"),
    "a kind of processor": (environment(device_type="quantum"), "environment.device_type is 'quantum', but must be"),
    "a precision": (environment(precision="exact"), "environment.precision is 'exact', but must be '32-true'"),
    "threads": (environment(threads=64), "environment.threads: it is 64, but its training asks for"),
    "a commit": (environment(commit="HEAD"), "environment.commit is 'HEAD', but must be"),
    "a version": (environment(packages={"torch": "the newest"}), "environment.packages.torch is 'the newest', but"),
    "pre-trained weights": (environment(backbone_sha256="ab" * 32), "its backbone began with other weights than that"),
    "a distribution": (
        lambda content, arrays: content["plugins"][0].update(distribution="evil 9.9"), "but it is of clsuite",
    ),
    "a benchmark's name": (
        lambda content, arrays: content.update(benchmark="mine"), "is the shipped 'quickstart' under another name",
    ),
    "a method's name": (
        lambda content, arrays: content.update(method="mine"), "is 'replay' of the benchmark under another name",
    ),
    "another method's name": (lambda content, arrays: content.update(method="icarl"), "is not what benchmark|plugins"),
    "a method's arguments": (
        lambda content, arrays: content.update(method="replay(capacity=9)"), "plugins is not what|under another name",
    ),
    "right among all classes, wrong among few": (right_where_all_compete, "both are of the same logits"),
    "features that were fixed": (nothing_through_the_backbone, "that the features were fixed, and that most of the"),
    "nothing of fixed features": (fixed_or_not_unsaid, "its tasks do not say how many parameters were trained"),
    "a loss without end": (task(final_loss=-1e300), "task 3: no training ends with a loss of -1e+300"),
    "no loss": (task(final_loss=None), "and has no final loss"),
    "no second of a task": (task(train_seconds=0.0), "task 3: it says that training or evaluation took no time"),
    "no second of evaluation": (task(eval_seconds=0.0), "task 3: it says that training or evaluation took no time"),
    "no second at all": (lambda content, arrays: content.update(seconds=0.0), "it says that it took no time"),
    "an error": (lambda content, arrays: content.update(error="<b>"), "the run is done, and has an error"),
    "no environment": (lambda content, arrays: content.update(environment={}), "environment.python: it is missing"),
    "no hash of the backbone": (without("backbone_sha256"), "environment.backbone_sha256: it is missing"),
    "a note": (environment(note="best of all"), "environment.note"),
    "another normalization": (environment(normalization={"mean": [0.0] * 3}), "environment.normalization"),
    "bundled weights of another network": (
        lambda content, arrays: content["config"]["backbone"].update(name="vit_tiny_patch16_224"),
        "'bundled' is not of 'vit_tiny_patch16_224'",
    ),
    "other bundled weights": (
        lambda content, arrays: content["config"]["backbone"].update(sha256="ab" * 32),
        "config.backbone.sha256: it is not that of the bundled weights",
    ),
    "weights of no hash": (
        lambda content, arrays: content["config"]["backbone"].update(weights="file", sha256=None), "it is not a hash",
    ),
    "curves that nobody asked for": (curves(), "within_task: it is there, but its configuration asks for none"),
    "curves that are left out": (
        lambda content, arrays: content["config"].update(evaluation={"every": 5}), "within_task: it is missing",
    ),
    "curves that are always wrong": (curves(0, asked=["evaluation"]), "does not go with the matrix"),
    "curves of too many images": (curves(asked=["evaluation"], n=[30] * 5), "within_task: it is on more than 20"),
    "curves of other parts": (curves(asked=["evaluation"], learned=[0] * 5), "within_task: its parts are not those"),
    "curves at other steps": (curves(asked=["evaluation"], every=6), "or not as often as its configuration asks for"),
    "a search for luck": (search(metric="luck"), "tuning: no search has such a metric"),
    "a search by an oracle": (search(sampler="oracle"), "tuning: no search has such a metric, sampler"),
    "a search on everything": (search(validation=7.0), "tuning: no search has such a metric, sampler or share"),
    "a search at no cost": (search(trial={"gradient_samples": 0}), "tuning: a trial has no score, or cost nothing"),
    "a search that chose something else": (search(chosen={"capacity": 7}), "tuning: what was chosen is not what"),
    "a search of another method": (
        search(chosen={"alpha": 1}, trial={"values": {"alpha": 1}}), "tuning: it chose alpha 1, and the run has",
    ),
    "a search of nothing": (search(tasks=0), "tuning: it is a search without tasks or trials"),
    "a stream without end": (
        lambda content, arrays: [
            content["config"].update(scenario={"kind": "recurring", "tasks": 5, "length": 10**9}),
            content["scenario"].update(kind="recurring"), content.update(benchmark="mine"),
        ], "its stream cannot be made again: its stream cannot be made by this version: 'length'|10000",
    ),
    "other decoded images": (
        lambda content, arrays: [
            content["environment"].update(table_sha256="ab" * 32),
            content["environment"]["packages"].update(pillow=version("pillow")),  # others may decode otherwise
        ], "environment.table_sha256: its images are not those",
    ),
    "values of another normalization": (
        environment(normalization={"mean": [0.4, 0.5, 0.5], "std": [0.5] * 3}),
        "environment.normalization: its mean is [0.4, 0.5, 0.5], but its backbone asks for [0.5, 0.5, 0.5]",
    ),
    "no normalization": (
        environment(normalization={"mean": [0.0] * 3, "std": [1.0] * 3}), "environment.normalization: its mean is [0.0",
    ),
    "an image size": (
        lambda content, arrays: content["config"]["backbone"].update(image_size=320), "backbone is not what benchmark",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_record_is_refused(name: str, tmp_path: Path, board: Path, streams: Streams) -> None:
    forgery, complaint = FORGERIES[name]
    outcome = offered(forgery, tmp_path, board, streams)
    assert outcome.verdict == "refused"
    assert any(part in outcome.reason for part in complaint.replace("\\", "").split("|")), outcome.reason
    assert "cannot be judged" not in outcome.reason


def test_there_are_more_of_them_than_were_found_once() -> None:
    assert len(FORGERIES) >= 34


ONLY_A_RERUN: dict[str, Forgery] = {
    "a search that goes with the run": search(),
    "the answers of another method": of_joint,
    "answers made right together with their counts": all_right,
    "other wrong answers": other_wrong_answers,
    "seconds that a machine could have taken": lambda content, arrays: content.update(seconds=9.0),
    "memory that a machine could have taken": cost(peak_memory_bytes=10**9),
    "another processor": environment(device="Another Processor"),
    "another commit": environment(commit="ab" * 20),
    "nothing at all": lambda content, arrays: None,
}


@pytest.mark.parametrize("name", ONLY_A_RERUN)
def test_what_only_a_rerun_can_tell(name: str, tmp_path: Path, board: Path, streams: Streams) -> None:
    assert offered(ONLY_A_RERUN[name], tmp_path, board, streams).verdict == "added"


def test_what_only_a_rerun_can_tell_is_told() -> None:
    text = " ".join((ROOT / "docs" / "security.md").read_text().split())
    for word in ("predictions", "times", "memory", "processor", "commit", "readings of probes"):
        assert word in text.partition("What only a rerun can verify")[2]


def test_a_record_by_itself_is_held_against_its_stream_too(tmp_path: Path, streams: Streams) -> None:
    (tmp_path / "empty").mkdir()
    for number, name in enumerate(("a label", "a class name", "fewer steps", "task names", "answers of 10^12")):
        (tmp_path / str(number)).mkdir()
        assert offered(FORGERIES[name][0], tmp_path / str(number), tmp_path / "empty", streams).verdict == "refused"


def test_published_records_can_be_added_again(tmp_path: Path, streams: Streams) -> None:
    rows = [published(method, 0) for method in ("joint", "ease", "lda", "gdumb", "lwf", "agem", "kfpf")]
    outcomes = add_records(rows, Leaderboard(tmp_path / "board"), False, True, streams.judge)
    assert [one.verdict for one in outcomes] == ["added"] * len(rows), outcomes


def test_images_are_not_decoded_at_the_size_that_a_record_says(
    tmp_path: Path, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clsuite.board.validate import streams as module

    sizes: list[int] = []
    load = stream_loader

    def loader(dataset: Any, spec: Any, size: int, root: Any) -> Any:
        sizes.append(size)
        return load(dataset, spec, size, root)

    monkeypatch.setattr(module, "stream_loader", loader)
    record = read_record(published("replay", 0))
    backbone = {**record.config["backbone"], "image_size": 2000}
    for name in ("quickstart", "mine"):
        changed = record.model_copy(update={"benchmark": name, "config": {**record.config, "backbone": backbone}})
        assert Streams(None).problem(changed) == ""
    assert sizes == [32, 32]


@pytest.mark.parametrize("change", [{"packages": {"pillow": "1.0"}}, {"system": "Elsewhere"}])
def test_images_of_another_decoder_are_not_compared_and_that_is_told(change: Content) -> None:
    record = read_record(published("replay", 0))
    arrays = read_predictions(published("replay", 0).with_suffix(".npz"))
    other = {**record.environment, "table_sha256": "ab" * 32, **change}
    own = Streams(None)
    assert own.judge(record.model_copy(update={"environment": other}), arrays) == ""
    assert "by Pillow" in own.images_unchecked["decoded images", "quickstart"]
