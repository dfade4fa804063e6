"""A run is one process, whatever started it."""

from __future__ import annotations

import pytest
import torch

from clsuite.learner.options import TrainingSpec
from clsuite.stream.trainer import make_trainer


def test_a_job_of_slurm_with_several_tasks_is_no_distributed_training(monkeypatch: pytest.MonkeyPatch) -> None:
    job = {"JOB_ID": "12", "JOB_NAME": "clsuite", "NTASKS": "4", "PROCID": "3", "LOCALID": "3", "NODEID": "0",
           "STEP_ID": "0", "NNODES": "1", "NTASKS_PER_NODE": "4"}  # fmt: skip
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    trainer = make_trainer(TrainingSpec(precision="32"), torch.device("cpu"), [])
    assert (trainer.world_size, trainer.global_rank, trainer.num_nodes) == (1, 0, 1)
    assert trainer.is_global_zero
