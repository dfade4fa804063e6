"""Claims: which process does which run in a folder that is shared by several processes, on one machine or many.

A claim is a file beside the run's record. It is first written completely under a temporary name and then linked to its
final name, which the file system allows only one process to do, on NFS too, where locks are not reliable. A heartbeat
renews its date. If the date is old, or the process is known to be gone, another process takes over: it creates the file
named after the claim's token, which again only one can do. The claims of a run are therefore a chain, each named by the
one before it, and the last one says who has the run.

To give a run back, its holder first ends the chain, and then removes it from the beginning: a process that looked
before creates a file that belongs to no chain, and sees that when it looks again. Until the chain is removed, nobody
else can have the run, unless the process that was to remove it is gone or silent, as with any claim.

filelock's SoftFileLock has no heartbeat and knows no other machines: a run of a lost node would be locked forever.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from clsuite.regular_files import open_regular

STALE_AFTER = 60.0
"""Seconds without a heartbeat after which a claim may be taken over."""
BEATS = 12
"""Number of heartbeats in that time: a few may be late, or be seen late through a file server."""
TOKEN = re.compile(r"[0-9a-f]{16}")
NO_TOKEN = "none"
"""Token of a claim whose file has none, because it was truncated or belongs to someone else."""
LARGEST = 4096
"""Largest number of bytes of a claim that are read."""
LATEST = 1e11
"""A time, in seconds since 1970, after any possible claim."""
PROGRESS = {"task": (int,), "tasks": (int,), "done": (int, float), "device": (str,)}
"""The entries of a claim on the progress of its run, with their types."""
PADDED = 240
"""Length of the line with a run's progress, which is overwritten in place."""
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""Error numbers of file systems without hard links."""
PROC = Path("/proc")


@dataclass(frozen=True)
class Holder:
    """The holder of a claim.

    Attributes:
        token: Unique token of the claim.
        host: Name of the machine.
        pid: Id of the process on it.
        home: Where that id is valid: the boot of the machine and its namespace of process ids; empty if not known.
        born: Start time of the process as the system reports it, which distinguishes it from a later one with the same
            id.
        since: When the claim was made, by that machine's clock.
        beat: When it was last renewed, by the file system's clock.
        progress: Progress of the run: ``task``, ``tasks``, ``done`` and ``device``, as far as reported.
        released: Whether it was given back.
    """

    token: str
    host: str = "unknown"
    pid: int = 0
    home: str = ""
    born: str = ""
    since: float = 0.0
    beat: float = 0.0
    progress: Mapping[str, Any] = field(default_factory=dict)
    released: bool = False

    @property
    def is_gone(self) -> bool:
        """Whether its process has ended, as far as this machine knows."""
        return self.home != "" and self.home == _home() and _born(self.pid) != self.born

    @property
    def place(self) -> str:
        """The holder in words."""
        return f"{self.host}, process {self.pid}"


@dataclass(eq=False)
class _Held:
    """A claim of this process; `handle` is its open file, so that writing cannot reach another file."""

    root: Path
    token: str
    handle: int
    start: int
    progress: dict[str, Any] = field(default_factory=dict)


class Claims:
    """The claims of this process, which a thread renews while the block is open and which are given back at its end."""

    def __init__(self, stale_after: float = STALE_AFTER) -> None:
        """Prepare.

        Args:
            stale_after: Seconds without a heartbeat after which a claim of another process may be taken over, and one
                of this process by others; all that share a folder should use the same value.
        """
        self._stale_after = stale_after
        self._held: dict[Path, _Held] = {}
        self._lost: set[Path] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="heartbeat")

    def __enter__(self) -> Claims:
        """Start the heartbeat."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back all claims."""
        self._closed.set()
        self._thread.join()
        for record_path in list(self._held):
            self.release(record_path)

    def take(self, record_path: Path) -> bool:
        """Claim a run, unless another process has it.

        A folder that cannot be written has no claims: its runs are started, and fail with the reason.

        Args:
            record_path: The run's record.

        Returns:
            Whether this process has it now.
        """
        root = claim_path(record_path)
        chain = _chain(root)
        if chain and not self._is_free(chain[-1], root):
            return False
        path = _after(root, chain[-1].token) if chain else root
        try:
            made = _make(path, root)
        except OSError:
            return True
        if made is None:
            return False
        now = _chain(root)
        if not now or now[-1].token != made.token:  # its predecessor was given back meanwhile
            os.close(made.handle)
            _remove(path)
            return False
        with self._lock:
            self._held[record_path] = made
        return True

    def release(self, record_path: Path) -> None:
        """Give a claim back; one that was lost, or is not this process's, is left unchanged."""
        with self._lock:
            held = self._held.pop(record_path, None)
            self._lost.discard(record_path)
        if held is None:
            return
        os.close(held.handle)
        chain = [held.root, *(_after(held.root, link.token) for link in _chain(held.root))]
        if chain[-1] != _after(held.root, held.token):
            return
        began = time.time()
        with suppress(OSError):
            end = _make(chain[-1], held.root, released=True)
            if end is None:
                return
            os.close(end.handle)
            if abs(time.time() - began) > self._stale_after / 2:  # slept: another may have it by now
                return
            for path in chain:
                _remove(path)

    def report_progress(self, record_path: Path, progress: Mapping[str, Any]) -> None:
        """Report the progress of a run with the next heartbeat."""
        with self._lock:
            held = self._held.get(record_path)
            if held is not None:
                held.progress.update({key: progress[key] for key in PROGRESS if key in progress})

    def is_lost(self, record_path: Path) -> bool:
        """Whether another process has taken a run over because this one was silent for too long."""
        with self._lock:
            return record_path in self._lost

    def _is_free(self, holder: Holder, root: Path) -> bool:
        silent = abs(
            file_system_time(root.parent) - holder.beat
        )  # with abs, a date in the future does not lock it forever
        return holder.is_gone or silent > self._stale_after

    def _beat(self) -> None:
        while not self._closed.wait(self._stale_after / BEATS):
            with self._lock:
                held = list(self._held.items())
            for record_path, claim in held:
                with self._lock:
                    if self._held.get(record_path) is claim:
                        self._renew(record_path, claim)

    def _renew(self, record_path: Path, claim: _Held) -> None:
        with suppress(OSError):  # the folder may be gone, or its server for a while
            os.pwrite(claim.handle, _progress_line(claim.progress), claim.start)
            os.utime(claim.handle)
            os.fsync(claim.handle)
        chain = _chain(claim.root)
        taken_over = bool(chain) and chain[-1].token not in (claim.token, NO_TOKEN)
        given_back = not chain and claim.root.parent.is_dir()  # by whoever took it over, unless the disk is away
        if taken_over or given_back:
            self._lost.add(record_path)


def claim_path(record_path: Path) -> Path:
    """The file of the first claim of a run."""
    return record_path.with_suffix(".claim")


def holder_of(record_path: Path) -> Holder | None:
    """The holder of a run, alive or not; None if there is none."""
    chain = _chain(claim_path(record_path))
    return chain[-1] if chain and not chain[-1].released else None


def file_system_time(folder: Path) -> float:
    """The time by the clock that dates the files of a folder; by this machine's clock if nothing can be written."""
    try:
        with tempfile.TemporaryFile(dir=folder) as opened:
            os.utime(opened.fileno())
            return os.fstat(opened.fileno()).st_mtime
    except OSError:
        return time.time()


def _after(root: Path, token: str) -> Path:
    """The file with which the claim with a token is taken over or given back."""
    return root.with_name(f"{root.name}.{token}")


def _chain(root: Path) -> list[Holder]:
    """The claims of a run, in order."""
    found: list[Holder] = []
    holder = _read(root)
    while holder is not None and holder.token not in {link.token for link in found}:
        found.append(holder)
        holder = _read(_after(root, holder.token))
    return found


def _read(path: Path) -> Holder | None:
    """The content of a claim, as far as it can be read; None if there is none."""
    try:
        with open_regular(path) as opened:  # opening makes NFS ask the server
            lines = opened.read(LARGEST).split(b"\n")
            status = os.fstat(opened.fileno())
            beat = status.st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:  # only others may read it: its date is enough
        return Holder(NO_TOKEN, beat=_date(path))
    content = _mapping(lines[0])
    token = content.get("token")
    if not isinstance(token, str) or not TOKEN.fullmatch(token):
        return Holder(NO_TOKEN, beat=beat)
    pid, since = content.get("pid"), content.get("since")
    return Holder(
        token=token,
        host=str(content.get("host", "")),
        pid=pid if isinstance(pid, int) else 0,
        home=str(content.get("home", "")) if status.st_uid == os.getuid() else "",  # processes of others may be hidden
        born=str(content.get("born", "")),
        since=since if isinstance(since, int | float) and 0 < since < LATEST else 0.0,
        beat=beat,
        progress=_progress(lines[1]) if len(lines) > 1 else {},
        released=content.get("released") is True,
    )


def _date(path: Path) -> float:
    """The date of a file; now if it is not known."""
    try:
        return path.stat().st_mtime
    except OSError:
        return file_system_time(path.parent)


def _mapping(line: bytes) -> dict[str, Any]:
    """A line of JSON; empty if it is not JSON."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _progress(line: bytes) -> dict[str, Any]:
    """The progress of a run in a claim, as far as it has the right types."""
    content = _mapping(line)
    return {name: content[name] for name, kind in PROGRESS.items() if type(content.get(name)) in kind}


def _make(path: Path, root: Path, released: bool = False) -> _Held | None:
    """Create a file of the chain; None if another process has created it.

    Raises:
        OSError: If nothing can be written there.
    """
    root.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(8)
    content = {"token": token, "host": socket.gethostname(), "pid": os.getpid(), "home": _home(),
            "born": _born(os.getpid()), "since": time.time(), "released": released}  # fmt: skip
    first = json.dumps(content).encode() + b"\n"
    temporary = root.with_name(f".{root.name}.{token}")
    handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        os.write(handle, first + _progress_line({}))
        handle, made = _name(handle, temporary, path)
    except OSError:
        os.close(handle)
        raise
    finally:
        _remove(temporary)
    if not made:
        os.close(handle)
        return None
    return _Held(root, token, handle, len(first))


def _name(handle: int, temporary: Path, path: Path) -> tuple[int, bool]:
    """Give a complete file its name; returns it open, and whether this process was the first."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        try:
            return handle, os.path.samestat(os.stat(path), os.fstat(handle))  # NFS may report its own retry as an error
        except FileNotFoundError:
            return handle, False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return _copy(handle, path)
    return handle, True


def _copy(handle: int, path: Path) -> tuple[int, bool]:
    """The same for file systems without hard links; a process that looks at once may see the file empty."""
    try:
        other = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return handle, False
    os.write(other, os.pread(handle, LARGEST, 0))
    os.close(handle)
    return other, True


def _progress_line(progress: Mapping[str, Any]) -> bytes:
    """The progress of a run in a line of fixed length."""
    text = json.dumps(dict(progress)).encode()
    return (text if len(text) < PADDED else b"{}").ljust(PADDED - 1) + b"\n"


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


@cache
def _home() -> str:
    """Where process ids are valid as they are here; empty if the system does not report it."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(PROC / 'self/ns/pid')}"
    except OSError:
        return ""


def _born(pid: int) -> str:
    """When a process started, by the system's count; empty if there is none, or the system does not report it."""
    try:
        words = (PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "" if words[0] in (b"Z", b"X") else words[19].decode()
