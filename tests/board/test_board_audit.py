"""The audit: honest runs pass, at a small share of their cost, and forged ones do not."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audited_runs import Run, copied, patched, plan_of, run
from forgeries import CHEAP, LEARNED

from clsuite.board.audit.audit import Audit, audit
from clsuite.board.audit.cost import RunCost
from clsuite.board.audit.sample import Wish
from clsuite.board.audit.submission import Submitted, read_submission
from clsuite.board.rerun import plan_rerun
from clsuite.board.validate.streams import Streams
from clsuite.cli.main import main
from clsuite.records import read_record
from clsuite.records.state_files import STATES, state_path
from clsuite.runner.execute import execute, load_scenario
from clsuite.runner.plan import RunPlan
from clsuite.stream import rounds
from clsuite.stream.sealed_state import read_state
from clsuite_plugins.replay import Replay

QUICK = (
    "counts: more right answers", "labels: as predicted", "costs: fewer steps", "rows: edited after the commitment",
    "costs: fewer exemplars in the gradients", "predictions: half of the last row improved",
    "predictions: permuted with equal counts", "states: exchanged", "states: weights scaled", "states: no plugins",
)  # fmt: skip
"""Forgeries of the default tests; the others are slow."""
LOADER = rounds._loader
FORGERIES = {**CHEAP, **LEARNED}
SEED, TRIES = 3, 5
BY_CHANCE = ("predictions: ", "rows: one given out", "costs: fewer exemplars")
"""Forgeries of a part of the images or tasks: an audit finds them if it draws one of these, which differ by machine."""


@pytest.fixture(scope="module", autouse=True)
def _quick_plans() -> Iterator[None]:
    """The weights are bundled: no benchmark need be read to find them."""
    with patched("clsuite.board.rerun.known_benchmarks", lambda *own: []):
        yield


@pytest.fixture(scope="module")
def streams() -> Streams:
    return Streams(None)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run."""
    folder = tmp_path_factory.mktemp("one")
    run(folder, 0, epochs=1)
    return folder / "runs"


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of three seeds, which have the same order of classes."""
    folder = tmp_path_factory.mktemp("three")
    for seed in range(3):
        run(folder, seed, epochs=10)
    return folder / "runs"


@pytest.fixture(scope="module")
def whole(three: Path, streams: Streams) -> float:
    """The least that rerunning all costs; forged costs would make it smaller."""
    submitted, problems = read_submission([three], None, streams.judge)
    assert problems == []
    runs = [(each, load_scenario(planned(each))) for each in submitted]
    return sum(RunCost.of(each.record, scenario, each.arrays).whole for each, scenario in runs)


def planned(submitted: Submitted) -> RunPlan:
    return plan_rerun(submitted.record, submitted.path, None, None, None, published=submitted.path, with_probes=False)


def audited(folder: Path, streams: Streams, share: float = 0.1, seed: int = SEED) -> Audit:
    submitted, problems = read_submission([folder], None, streams.judge)
    if problems:
        return Audit(refuted=problems)
    return audit(submitted, planned, Wish(share, seed, images=12, steps=3))


def refuted(name: str, runs: Path, tmp_path: Path, streams: Streams) -> Audit:
    """The audit of a forged copy of some runs."""
    forged = copied(runs, tmp_path / "forged")
    FORGERIES[name](forged)
    for each in forged:
        each.write()
    result, tries = audited(tmp_path / "forged", streams), 1
    while not result.refuted and name.startswith(BY_CHANCE) and tries < TRIES:
        result, tries = audited(tmp_path / "forged", streams, seed=SEED + tries), tries + 1
    print(f"{name}: {tries} audit(s), {100 * result.share:.1f} %, {len(result.refuted)}: {result.refuted[:1]}")
    return result


@pytest.mark.slow
def test_an_honest_run_passes_and_the_draw_can_be_repeated(one: Path, streams: Streams) -> None:
    result = audited(one, streams)
    assert result.refuted == []
    assert result.sample is not None
    assert len(result.sample.tasks) == 1
    assert sorted(row for _, row in result.sample.images) == sorted({*range(6)} - {result.sample.tasks[0][1] + 1})
    again = [audited(one, streams, share=1e-6, seed=seed).sample for seed in (SEED, SEED + 1)]
    assert [sample.tasks == result.sample.tasks for sample in again if sample] == [True, False]


@pytest.mark.slow
def test_states_change_no_result_and_survive_an_interruption(one: Path, tmp_path: Path) -> None:
    kept = read_record(next(one.rglob("seed0-*.json")))
    without = execute(plan_of(tmp_path / "a", 0, epochs=1, keep_states=False), lambda event: None)
    assert without.key == kept.key
    assert without.counts == kept.counts
    assert without.states is None
    assert "states" not in without.model_dump()
    plan = plan_of(tmp_path / "b", 0, epochs=1)

    def stop(event: dict[str, Any]) -> None:
        if event["task"] == 3:
            raise RuntimeError("a power cut")

    assert execute(plan, stop).status == "failed"
    resumed = execute(plan, lambda event: None)
    assert resumed.states == kept.states


@pytest.mark.parametrize("name", QUICK)
def test_a_forged_run_is_refuted(name: str, one: Path, tmp_path: Path, streams: Streams) -> None:
    result = refuted(name, one, tmp_path, streams)
    assert result.refuted
    assert all(line.startswith("tiny/er/0: ") and "\n" not in line for line in result.refuted)


def test_a_state_cannot_run_code_or_replace_a_missing_one(one: Path, tmp_path: Path, streams: Streams) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
            return Path.touch, (tmp_path / "exploded",)  # type: ignore[return-value]

    copied(one, tmp_path / "forged")
    folder = next((tmp_path / "forged").rglob(f"*{STATES}"))
    for number in (1, 2):
        state_path(folder, number).unlink()
    state_path(folder, 1).write_bytes(pickle.dumps(Bomb()))
    state_path(folder, 3).unlink()
    state_path(folder, 3).symlink_to("/dev/zero")
    result = audited(tmp_path / "forged", streams)
    assert not (tmp_path / "exploded").exists()
    assert [" is damaged: " in line for line in result.refuted] == [True, False, True]
    assert "task2.state' is missing" in result.refuted[1]


def test_the_command_reports_in_one_line_each(one: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (forged,) = copied(one, tmp_path / "forged")
    moved = tmp_path / "states" / "far" / forged.path.with_suffix(STATES).name
    moved.parent.mkdir(parents=True)
    forged.path.with_suffix(STATES).rename(moved)
    words = ["leaderboard", "audit", str(tmp_path / "forged"), "--folder", str(tmp_path), "--share", "0.001"]
    assert main([*words, "--states", str(tmp_path / "states")]) == 0
    said = capsys.readouterr().out
    assert "with which the audit can be repeated" in said
    assert "nothing is refuted" in said
    assert main([*words, "--seed", "1"]) == 1
    assert capsys.readouterr().err.count("is missing") == 5
    forged.content["states"] = None
    forged.keep = {"states"}
    forged.states = {}
    forged.write()
    assert main(words) == 2
    assert "commits to no states: run it with --keep-states" in capsys.readouterr().err
    assert main([*words, "--states", str(tmp_path / "no")]) == 2


@pytest.mark.nightly
def test_there_are_at_least_fifty_forgeries() -> None:
    assert len(FORGERIES) + len(OTHER_SOURCES) >= 50
    assert set(QUICK) <= set(FORGERIES)


@pytest.mark.nightly
def test_honest_runs_pass_at_a_tenth_of_the_cost(three: Path, streams: Streams) -> None:
    for seed in range(3):
        result = audited(three, streams, seed=seed)
        assert result.refuted == []
        assert 0 < result.share <= 0.1
        print(f"share {result.share:.4f}, {result.seconds:.1f} s of {result.run_seconds:.1f} s")


@pytest.mark.nightly
@pytest.mark.parametrize("name", FORGERIES)
def test_forged_runs_are_refuted_at_a_tenth_of_the_cost(
    name: str, three: Path, tmp_path: Path, streams: Streams, whole: float
) -> None:
    result = refuted(name, three, tmp_path, streams)
    assert result.refuted
    assert result.cost <= 0.1 * whole


def _more_exemplars(self: Replay, learner: Any, batch: Any) -> Any:
    return self.extend(batch, 12)


def _no_exemplars(self: Replay, learner: Any, batch: Any) -> Any:
    return batch


def _all_images(learner: Any, task: Any, indices: Any, device: Any) -> Any:
    """All images of the classes so far in as many batches as the task has."""
    table = learner.scenario.table
    known = np.flatnonzero(~table.is_test & (learner.scenario.labels < learner.seen))
    chosen = np.random.RandomState(task.index).permutation(known)[: len(indices)]
    return LOADER(learner, task, chosen, device)


def _test_images(learner: Any, task: Any, indices: Any, device: Any) -> Any:
    """Test images instead of training images."""
    return LOADER(learner, task, np.concatenate([task.test, indices])[: len(indices)], device)


def _averaged(self: Replay, learner: Any, task: Any) -> None:
    self.buffer.add_task(learner, task, self.draws)
    for parameter in learner.head.parameters():
        parameter.data.mul_(0.9)


def _smoothed(logits: Any, labels: Any, kind: Any, classes: Any, *more: Any) -> Any:
    from torch.nn.functional import cross_entropy

    return cross_entropy(logits, labels, label_smoothing=0.1)


OTHER_SOURCES = {
    "replay without exemplars": ("clsuite_plugins.replay.Replay.transform_batch", _no_exemplars),
    "replay with twice the exemplars": ("clsuite_plugins.replay.Replay.transform_batch", _more_exemplars),
    "learns all tasks again": ("clsuite.stream.rounds._loader", _all_images),
    "learns test images": ("clsuite.stream.rounds._loader", _test_images),
    "changes weights after a task": ("clsuite_plugins.replay.Replay.on_task_end", _averaged),
    "another loss": ("clsuite.learner.learner.classification_loss", _smoothed),
}
"""What a submitter runs in place of the published source, whose hash the record has."""


@pytest.mark.nightly
@pytest.mark.parametrize("name", OTHER_SOURCES)
def test_runs_of_other_sources_are_refuted(name: str, three: Path, tmp_path: Path, streams: Streams) -> None:
    forged = copied(three, tmp_path / "forged")
    for each in forged:
        with patched(*OTHER_SOURCES[name]):
            other = Run.read(run(tmp_path / "other", each.content["seed"], epochs=10))
        for task, claimed in zip(other.content["tasks"], each.content["tasks"], strict=True):
            task.update({key: claimed[key] for key in ("steps", "gradient_samples", "trainable_parameters", "frozen")})
        other.content["cost"] = each.content["cost"]
        each.take(other)
        each.write()
    result = audited(tmp_path / "forged", streams)
    print(f"{name}: {100 * result.share:.1f} %, {len(result.refuted)}: {result.refuted[:1]}")
    assert result.refuted
    assert result.share <= 0.1


@pytest.mark.nightly
@pytest.mark.parametrize("method", ["plain", "means", "undone"])
def test_other_methods_pass(method: str, tmp_path: Path, streams: Streams) -> None:
    """One without exemplars, one without gradients, and one that changes the network back after each evaluation."""
    path = run(tmp_path, 0, method, epochs=1)
    result = audited(tmp_path / "runs", streams, share=3.0)  # all of it
    assert result.refuted == []
    assert result.sample is not None
    assert len(result.sample.tasks) >= 3
    changes = read_state(state_path(path.with_suffix(STATES), 1))["evaluated"] is not None
    assert changes == (method == "undone")
    assert json.loads(path.read_text())["states"]
