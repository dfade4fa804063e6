"""The same runs wherever they are done."""

from __future__ import annotations

from time import sleep
from typing import Any

import pytest
from sweeps import LONGEST, Folder, results

pytestmark = pytest.mark.cluster

OPTIONS = {
    "debug": [],
    "ray": ["--executor-option", "object_store=0.1"],
    # four tasks in each job: each is a worker, none takes itself for a part of one training
    "slurm": ["--executor-option", "workers=2", "--executor-option", "sbatch={ntasks: 2, overcommit: true}"],
}


@pytest.mark.parametrize("executor", OPTIONS)
def test_the_same_six_runs_have_the_same_keys_and_counts(
    executor: str, folder: Folder, undisturbed: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    if executor == "slurm":
        request.getfixturevalue("slurm")
    folder.call("bench", "six.yaml", "--executor", executor, *OPTIONS[executor])
    assert results(folder.records("six")) == undisturbed["six"]
    assert {status for _, status, _ in undisturbed["six"].values()} == {"done"}
    assert len(undisturbed["six"]) == 6


@pytest.mark.parametrize("executor", ["ray", "slurm"])
def test_runs_are_tracked_beside_their_records(
    executor: str, folder: Folder, undisturbed: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    if executor == "slurm":
        request.getfixturevalue("slurm")
    tracked = ("--methods", "finetune,ncm", "--log", "csv")
    folder.call("bench", "six.yaml", "--executor", executor, *tracked, *OPTIONS[executor])
    found = results(folder.records("six"))
    assert found == {name: undisturbed["six"][name] for name in found}
    assert len(found) == 2
    for path in folder.beside("six", "seed*.json"):
        written = path.with_suffix(".trackers") / "csv" / "metrics.csv"
        for _ in range(LONGEST):  # a job may end after its record, once its trackers have what they receive
            if written.exists() and written.read_text().count("\n") > 2:
                break
            sleep(1)
        else:
            pytest.fail(f"{written} was not written")
