"""A Slurm of two nodes on this machine: munged, slurmctld and two slurmd, all in one folder and ended by their pids."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
STARTS = 60.0
"""Seconds that the daemons have to come up."""


def missing() -> list[str]:
    """What is not installed of it."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


class Slurm:
    """Slurm's commands, as a user types them."""

    def __call__(self, *words: str) -> str:
        """What a command prints."""
        return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout.strip()

    def jobs(self, name: str = "") -> dict[str, str]:
        """The states of jobs that have not ended, by their numbers."""
        only = [f"--name={name}"] if name else []
        lines = self("squeue", "--noheader", "--array", "--format=%i %T", *only).splitlines()
        return {line.split()[0]: line.split()[1] for line in lines}


@contextmanager
def slurm(folder: Path) -> Iterator[Slurm]:
    """Slurm while the block runs, for this process and what it starts."""
    started: list[subprocess.Popen[bytes]] = []
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    try:
        _configure(folder)
        started.append(_munge(folder))
        started.append(_start(folder, "slurmctld", "-D"))
        started += [_start(folder, "slurmd", "-D", "-N", name) for name in ("n1", "n2")]
        commands = Slurm()
        _wait_for_nodes(commands)
        yield commands
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
        if before is None:
            del os.environ["SLURM_CONF"]
        else:
            os.environ["SLURM_CONF"] = before


def _configure(folder: Path) -> None:
    text = (Path(__file__).parent / "slurm.conf").read_text(encoding="utf-8")
    control, first, second = _free_ports(3)
    values = {"HOST": socket.gethostname().split(".")[0], "FOLDER": folder, "CONTROL": control, "FIRST": first,
              "SECOND": second}  # fmt: skip
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    for name in ("state", "spool-n1", "spool-n2"):
        (folder / name).mkdir()
    (folder / "slurm.conf").write_text(text, encoding="utf-8")


def _munge(folder: Path) -> subprocess.Popen[bytes]:
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    names = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    options = [f"--{option}={folder}/munge.{name}" for option, name in names.items()]
    process = _start(folder, "munged", "--foreground", "--force", *options)
    _until((folder / "munge.socket").exists, "munged")
    return process


def _start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    with (folder / f"{words[0]}-{secrets.token_hex(2)}.out").open("wb") as out:
        return subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)


def _wait_for_nodes(commands: Slurm) -> None:
    def are_idle() -> bool:
        try:
            return commands("sinfo", "--noheader", "--Node", "--partition=low", "--format=%T").split() == ["idle"] * 2
        except subprocess.CalledProcessError:
            return False

    _until(are_idle, "Slurm's nodes")


def _until(done: object, what: str) -> None:
    end = time.monotonic() + STARTS
    while not done():  # type: ignore[operator]
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come up in {STARTS:.0f} s")
        time.sleep(0.2)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
