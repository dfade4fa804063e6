"""MLflow's page in a real Chromium shows the runs of a folder with their values."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from clsuite.trackers.journal import Journal, Row
from clsuite.trackers.writer import write

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
RUN = {"benchmark": "tiny", "method": "lora", "seed": 3, "key": "ab" * 32, "training": {"epochs": 2}}
STARTING = 240.0
"""Seconds that the server may take to start."""


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server on the store of a run that was tracked."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    journal = Journal(path := tmp_path / "runs" / "tiny" / "lora" / "seed3.journal")
    steps = [Row("step", number, {"train/loss": 2 / number}) for number in range(1, 30)]
    journal.append([Row("run", 0, RUN), *steps, Row("task", 1, {"accuracy/average": 0.875})])
    journal.close()
    write(path, ("mlflow",), lambda: "done", lambda message: None)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}"
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "ui",
        "--backend-store-uri",
        store,
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(30)


def _wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + STARTING
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("MLflow's server has not started")


def test_the_page_shows_the_run_and_its_values(address: str, tmp_path: Path) -> None:
    import mlflow

    (experiment,) = mlflow.MlflowClient(address).search_experiments(filter_string="name = 'tiny'")
    (run,) = mlflow.MlflowClient(address).search_runs([experiment.experiment_id])
    assert run.data.metrics["accuracy/average"] == 0.875
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(f"{address}/#/experiments/{experiment.experiment_id}/runs/{run.info.run_id}", timeout=120_000)
        expect(page.get_by_text("lora, seed 3").first).to_be_visible(timeout=120_000)
        expect(page.get_by_text("accuracy/average").first).to_be_visible(timeout=120_000)
        expect(page.get_by_text("0.875").first).to_be_visible(timeout=120_000)
        assert page.screenshot(path=tmp_path / "mlflow.png").startswith(b"\x89PNG")
        browser.close()
