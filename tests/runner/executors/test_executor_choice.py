"""Which executor does the runs: the call's, the environment's, the file's; never part of a key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from clsuite.cli.main import main
from clsuite.errors import UserError
from clsuite.runner.executors.choice import chosen_executor, make_executor
from clsuite.runner.executors.spec import LocalExecutor, RayExecutor, SlurmExecutor
from clsuite.runner.options import BenchOptions, RunOptions
from clsuite.runner.plan import make_plan
from clsuite.runner.pool import Pool
from clsuite.runner.spec import BenchmarkSpec, load_benchmark

TINY: dict[str, Any] = {
    "name": "tiny",
    "dataset": {"name": "digits", "train_per_class": 4},
    "scenario": {"tasks": 5},
    "methods": {"ncm": "ncm"},
    "seeds": [0],
}


def spec(executor: Any = None) -> BenchmarkSpec:
    return BenchmarkSpec.model_validate({**TINY, **({"executor": executor} if executor else {})})


@pytest.mark.parametrize(
    ("file", "environment", "options", "expected"),
    [
        (None, "", {}, LocalExecutor()),
        ("ray", "", {}, RayExecutor()),
        ({"kind": "ray", "gpus": 0.5}, "", {}, RayExecutor(gpus=0.5)),
        ("ray", "slurm", {}, SlurmExecutor()),
        ("ray", "{kind: slurm, partition: gpu}", {}, SlurmExecutor(partition="gpu")),
        ({"kind": "ray", "gpus": 0.5}, "", {"executor": "slurm"}, SlurmExecutor()),
        ({"kind": "ray", "gpus": 0.5}, "", {"executor_options": {"cpus": 2}}, RayExecutor(gpus=0.5, cpus=2)),
        ({"kind": "ray", "gpus": 0.5}, "", {"executor": "ray", "executor_options": {"gpus": 1}}, RayExecutor(gpus=1)),
        ("slurm", "", {"executor_options": {"time": 30}}, SlurmExecutor(time="30")),
        ("slurm", "", {"executor_options": {"sbatch": {"ntasks": 4}}}, SlurmExecutor(sbatch={"ntasks": 4})),
        ("slurm", "ray", {"executor": "local"}, LocalExecutor()),
    ],
)
def test_the_call_decides_before_the_environment_and_that_before_the_file(
    file: Any, environment: str, options: dict[str, Any], expected: object
) -> None:
    chosen = chosen_executor(spec(file), BenchOptions(**options), {"CLSUITE_EXECUTOR": environment})
    assert chosen == expected


@pytest.mark.parametrize(
    ("environment", "options", "told"),
    [
        ("rya", {}, "CLSUITE_EXECUTOR: unknown executor 'rya'. Did you mean 'ray'?"),
        ("{kind: slurm, partiton: x}", {}, "CLSUITE_EXECUTOR: unknown key 'partiton'. Did you mean 'partition'?"),
        ("", {"executor": "ray", "executor_options": {"gpu": 1}}, "unknown option of the executor 'ray': 'gpu'. Did"),
        ("", {"executor": "ray", "executor_options": {"gpus": -1}}, "--executor-option gpus is -1, but must be at"),
        ("", {"executor": "slurm", "executor_options": {"time": "soon"}}, "write minutes, HH:MM:SS or D-HH:MM:SS in"),
        ("", {"executor": "slurm", "executor_options": {"account": "a\nb"}}, "must be one line"),
        ("", {"executor": "debug", "executor_options": {"gpus": 1}}, "the executor 'debug' has no options"),
        ("", {"executor": "ray", "debug": True}, "--debug means the executor 'debug': remove it or --executor ray"),
        ("debug", {"jobs": 2}, "remove --jobs"),
        ("debug", {"timeout": 2.0}, "remove --timeout"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_what_may_be_meant(environment: str, options: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as raised:
        chosen_executor(spec(), BenchOptions(**options), {"CLSUITE_EXECUTOR": environment})
    assert told in str(raised.value)


def test_the_command_line_and_the_file_tell_their_mistakes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "quickstart", "--executor", "slrum"]) == 2
    assert "unknown executor 'slrum'. Did you mean 'slurm'?" in capsys.readouterr().err
    assert main(["bench", "quickstart", "--executor", "slurm", "--executor-option", "partition"]) == 2
    assert "write KEY=VALUE, such as partition=gpu" in capsys.readouterr().err
    Path("tiny.yaml").write_text(yaml.safe_dump({**TINY, "executor": {"kind": "slurm", "partiton": "gpu"}}))
    assert main(["bench", "tiny.yaml"]) == 2
    assert "unknown key 'executor.partiton'. Did you mean 'partition'?" in capsys.readouterr().err
    assert main(["bench", "quickstart", "--detach", "--executor", "debug"]) == 2
    assert "--detach leaves the terminal that --debug needs" in capsys.readouterr().err


def test_the_executor_is_part_of_no_key(tmp_path: Path) -> None:
    options = RunOptions(out=tmp_path, device="cpu")
    plain, chosen = (make_plan(spec(one), tmp_path, options) for one in (None, {"kind": "slurm", "partition": "gpu"}))
    assert [plan.pending for plan in plain] == [plan.pending for plan in chosen]


def test_no_shipped_benchmark_names_an_executor() -> None:
    assert load_benchmark("quickstart")[0].executor is None


@pytest.mark.parametrize(("kind", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_extra_that_is_missing_is_told_with_its_command(
    kind: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)  # importing it fails then
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(yaml.safe_dump(TINY))
    assert main(["bench", "tiny.yaml", "--executor", kind]) == 2
    assert f'pip install "clsuite[{kind}]"' in capsys.readouterr().err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("options", "memory"), [({"jobs": 3}, None), ({"executor_options": {"memory": 2}}, 2e9), ({}, 5.0)]
)
def test_memory_is_counted_unless_the_call_says_how_many(
    options: dict[str, Any], memory: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clsuite.runner.executors.choice.free_memory", lambda: 5.0)
    given = BenchOptions(**options)
    pool = make_executor(chosen_executor(spec(), given, {}), given, 1, ["cpu"], print)
    assert isinstance(pool, Pool)
    assert pool.memory.total == memory


def test_several_devices_of_a_run_are_refused_where_they_need_not_lie_together(tmp_path: Path) -> None:
    given = BenchOptions(executor="ray", devices=2)
    with pytest.raises(UserError, match="the executor 'ray' gives each run one device: remove --devices"):
        make_executor(chosen_executor(spec(), given, {}), given, 1, [], print)
