"""clsuite as it was at an earlier commit: its files from the repository's history, and runs with them."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import clsuite
from clsuite.errors import UserError
from clsuite.interpreters import PYTHON

SCRIPT = "import sys; from clsuite.cli.main import main; sys.exit(main(sys.argv[1:]))"
GROUP = "clsuite.plugins"


def project_folder() -> Path:
    """The folder that clsuite runs from, which is a checkout if its files have a history."""
    return Path(clsuite.__file__).resolve().parents[1]


def check_out(commit: str, project: Path, target: Path) -> None:
    """Write the packages of a commit into a folder, as if they were installed there.

    Nothing is written into the repository. The folder gets the packages under their import names, and the metadata that
    names the plugins of that commit.

    Args:
        commit: The commit.
        project: A folder of the repository, with ``pyproject.toml``.
        target: An empty folder; on ``PYTHONPATH`` it takes precedence over installed packages.

    Raises:
        UserError: If there is no history with that commit, the commit is not an ancestor of what is checked out here,
            or clsuite was not at the same place in it.
    """
    if _git(project, "rev-list", "--max-count=1", commit, "--not", "HEAD", "--"):
        raise UserError(
            f"commit {commit[:9]} is in the repository, but did not lead to what is checked out: its sources may be "
            "anybody's, and are not run; check out a state that comes after it"
        )
    try:
        description = tomllib.loads(_git(project, "show", f"{commit}:./pyproject.toml").decode())
        folders = {"clsuite": "clsuite", **description["tool"]["setuptools"]["package-dir"]}
        packed = _git(project, "archive", "--format=tar", commit, *folders.values())
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(target, filter="data")
        for package, folder in folders.items():
            (target / folder).rename(target / package)
        _write_metadata(description["project"], target)
    except (KeyError, TypeError, OSError, ValueError, tarfile.TarError) as error:
        raise UserError(f"commit {commit[:9]} cannot be checked out: {type(error).__name__}: {error}") from error


def _write_metadata(project: dict[str, Any], target: Path) -> None:
    name, version = project["name"], project["version"]
    folder = target / f"{name}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    plugins = "".join(f"{key} = {value}\n" for key, value in project["entry-points"][GROUP].items())
    (folder / "entry_points.txt").write_text(f"[{GROUP}]\n{plugins}", encoding="utf-8")


def _git(project: Path, *words: str) -> bytes:
    try:
        return subprocess.run(["git", "-C", str(project), *words], capture_output=True, check=True).stdout
    except OSError as error:
        raise UserError(
            f"git cannot be called ({error.strerror}): the sources that made a row are in its history"
        ) from error
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode("utf-8", "replace").strip().splitlines()
        message = reason[-1] if reason else f"status {error.returncode}"
        raise UserError(f"'{project}' has no history with the sources that made it: {message}") from error


def bench_there(
    site: Path, benchmark: Path, out: Path, data_root: Path | None, jobs: int | None, on_progress: Callable[[int], None]
) -> None:
    """Run a benchmark with the clsuite in a folder that `check_out` made, with this interpreter and its other packages.

    Args:
        site: The folder.
        benchmark: The benchmark's YAML file.
        out: Folder for its records.
        data_root: Folder of its data.
        jobs: Number of runs at a time.
        on_progress: Receives the number of records so far.

    Raises:
        UserError: If it refuses to run, with its own last line.
    """
    command = [*PYTHON, "-c", SCRIPT, "bench", str(benchmark), "--out", str(out), "--device", "cpu"]
    command += ["--data-root", str(data_root.resolve())] if data_root else []
    command += ["--jobs", str(jobs)] if jobs else []
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "CLSUITE_CACHE": str(site / "cache")}
    running = subprocess.Popen(
        command, cwd=site, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while True:
        try:
            _, output = running.communicate(timeout=1)
            break
        except subprocess.TimeoutExpired:
            on_progress(len(list(out.glob("*/*/*.json"))))
        except BaseException:
            running.terminate()
            running.wait()
            raise
    on_progress(len(list(out.glob("*/*/*.json"))))
    if running.returncode not in (0, 1):  # 1: a run failed, which its record says
        lines = output.strip().splitlines() or [f"status {running.returncode}"]
        raise UserError(lines[-1])
