"""The workflow for submitted records: what it does without states, which nobody can audit, is not green."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture
def audit() -> dict[str, Any]:
    content = yaml.safe_load((ROOT / ".github/workflows/records.yml").read_text("utf-8"))
    job: dict[str, Any] = content["jobs"]["audit"]
    return job


@pytest.mark.parametrize(
    ("text", "audited", "status", "output"),
    [
        ("All fine.\r\nStates: https://example.org/s.tar\r\n", "false", 0, "states=https://example.org/s.tar\n"),
        ("States: https://example.org/s.tar", "true", 0, ""),
        ("All fine.", "true", 0, ""),
        ("All fine.", "false", 1, ""),
        ("States: http://example.org/s.tar", "false", 1, ""),
        ("", "false", 1, ""),
    ],
)
def test_records_without_states_fail_unless_a_maintainer_has_audited_them(
    audit: dict[str, Any], tmp_path: Path, text: str, audited: str, status: int, output: str
) -> None:
    outputs = tmp_path / "outputs"
    outputs.touch()
    environment = {**os.environ, "BODY": text, "AUDITED": audited, "GITHUB_OUTPUT": str(outputs)}
    command = ["bash", "-e", "-o", "pipefail", "-c", audit["steps"][0]["run"]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, outputs.read_text()) == (status, output)
    assert done.stdout.count("\n") == (1 if not output else 0)
    assert ("add the line 'States: https://...'" in done.stdout) == bool(status)


def test_the_job_runs_for_every_branch_with_records_and_does_the_rest_with_states_only(audit: dict[str, Any]) -> None:
    assert audit["if"] == "startsWith(github.head_ref, 'records/')"
    assert {step.get("if") for step in audit["steps"][1:]} == {"steps.text.outputs.states"}
