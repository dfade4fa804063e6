"""Claims: which process does which run of a folder that several of them, on one machine or many, work in.

A claim is a file beside the run's record. A file that was written whole is given the claim's name, which the file
system lets one process do alone, on NFS too, where locks cannot be relied on. A heartbeat renews its date. Where that
is old, or the process is known to be gone, another one takes over: it makes the file that is named after the claim's
token, which again only one can do. So the claims of a run are a chain, each named by the one before it, and its end
says whose the run is. Whoever gives it back ends the chain first, and then removes it, its beginning first: a process
that looked before makes a file that hangs on nothing, and sees so when it looks again. Until it is removed, the run is
nobody else's, unless whoever was to remove it is gone or silent, as with any claim.

filelock's SoftFileLock knows neither heartbeat nor other machines: what a lost node held would be held forever.
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
"""Heartbeats in that time: a few may be late, and a file server may tell others of one late."""
TOKEN = re.compile(r"[0-9a-f]{16}")
NO_TOKEN = "none"
"""Stands for the token of a claim whose file holds none: it was cut, or is somebody else's."""
LARGEST = 4096
"""Bytes of a claim that are read."""
LATEST = 1e11
"""A time, in seconds since 1970, that no claim is made at."""
PROGRESS = {"task": (int,), "tasks": (int,), "done": (int, float), "device": (str,)}
"""What a claim tells of its run, and of which types that is."""
PADDED = 240
"""Bytes of the line with a run's progress, which is written over again and again."""
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What file systems say that have no hard links."""
PROC = Path("/proc")


@dataclass(frozen=True)
class Holder:
    """Who holds a claim.

    Attributes:
        token: Names the claim, and no other.
        host: Name of the machine.
        pid: Number of the process there.
        home: Where that number means something: the boot of the machine and its space of numbers; empty if not known.
        born: When the process began, in the system's words; tells it from a later one of the same number.
        since: When the claim was made, by that machine's clock.
        beat: When it was renewed last, by the file system's clock.
        progress: How far the run is: ``task``, ``tasks``, ``done`` and ``device``, as far as told.
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
        """Whether its process ended, as far as this machine can tell."""
        return self.home != "" and self.home == _home() and _born(self.pid) != self.born

    @property
    def place(self) -> str:
        """Who that is, in words."""
        return f"{self.host}, process {self.pid}"


@dataclass(eq=False)
class _Held:
    """A claim of this process; `handle` is its open file, so that what is written reaches no other."""

    root: Path
    token: str
    handle: int
    start: int
    progress: dict[str, Any] = field(default_factory=dict)


class Claims:
    """The claims of this process, renewed by a thread while the block is open and given back at its end."""

    def __init__(self, stale_after: float = STALE_AFTER) -> None:
        """Prepare.

        Args:
            stale_after: Seconds without a heartbeat after which a claim of another may be taken over, and one of this
                process by others; all that share a folder should have the same.
        """
        self._stale_after = stale_after
        self._held: dict[Path, _Held] = {}
        self._lost: set[Path] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="heartbeat")

    def __enter__(self) -> Claims:
        """Begin the heartbeat."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back what is held."""
        self._closed.set()
        self._thread.join()
        for record_path in list(self._held):
            self.release(record_path)

    def take(self, record_path: Path) -> bool:
        """Claim a run, unless another has it.

        A folder in which nothing can be written has no claims: its runs are begun, and fail with the reason.

        Args:
            record_path: The run's record.

        Returns:
            Whether it is this process's now.
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
        if not now or now[-1].token != made.token:  # what it hangs on was given back meanwhile
            os.close(made.handle)
            _remove(path)
            return False
        with self._lock:
            self._held[record_path] = made
        return True

    def release(self, record_path: Path) -> None:
        """Give a claim back; one that was lost, or is none of this process, is left as it is."""
        with self._lock:
            held = self._held.pop(record_path, None)
            self._lost.discard(record_path)
        if held is None:
            return
        os.close(held.handle)
        chain = [held.root, *(_after(held.root, one.token) for one in _chain(held.root))]
        if chain[-1] != _after(held.root, held.token):
            return
        began = time.time()
        with suppress(OSError):
            end = _make(chain[-1], held.root, released=True)
            if end is None:
                return
            os.close(end.handle)
            if abs(time.time() - began) > self._stale_after / 2:  # asleep: another may have it after this one by now
                return
            for path in chain:
                _remove(path)

    def report_progress(self, record_path: Path, progress: Mapping[str, Any]) -> None:
        """Have the next heartbeat say how far a run is."""
        with self._lock:
            held = self._held.get(record_path)
            if held is not None:
                held.progress.update({key: progress[key] for key in PROGRESS if key in progress})

    def is_lost(self, record_path: Path) -> bool:
        """Whether another has taken a run over, as this process was silent for too long: it is no longer its own."""
        with self._lock:
            return record_path in self._lost

    def _is_free(self, holder: Holder, root: Path) -> bool:
        silent = abs(file_system_time(root.parent) - holder.beat)  # a date in the future would hold it forever
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
    """Where the claim of a run begins."""
    return record_path.with_suffix(".claim")


def holder_of(record_path: Path) -> Holder | None:
    """Who holds a run, alive or not; None where nobody does."""
    chain = _chain(claim_path(record_path))
    return chain[-1] if chain and not chain[-1].released else None


def file_system_time(folder: Path) -> float:
    """What time it is by the clock that dates the files of a folder; this machine's where nothing can be written."""
    try:
        with tempfile.TemporaryFile(dir=folder) as opened:
            os.utime(opened.fileno())
            return os.fstat(opened.fileno()).st_mtime
    except OSError:
        return time.time()


def _after(root: Path, token: str) -> Path:
    """The file with which the claim of a token is taken over or given back."""
    return root.with_name(f"{root.name}.{token}")


def _chain(root: Path) -> list[Holder]:
    """The claims of a run, the first one first."""
    found: list[Holder] = []
    holder = _read(root)
    while holder is not None and holder.token not in {one.token for one in found}:
        found.append(holder)
        holder = _read(_after(root, holder.token))
    return found


def _read(path: Path) -> Holder | None:
    """What a claim says, as far as it can be read; None where there is none."""
    try:
        with open_regular(path) as opened:  # what is opened, NFS asks its server for
            lines = opened.read(LARGEST).split(b"\n")
            status = os.fstat(opened.fileno())
            beat = status.st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:  # it may be read by others alone: its date says enough
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
    """When a file was written; now where nobody says."""
    try:
        return path.stat().st_mtime
    except OSError:
        return file_system_time(path.parent)


def _mapping(line: bytes) -> dict[str, Any]:
    """A line of JSON; nothing where it is none."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _progress(line: bytes) -> dict[str, Any]:
    """What a claim says of a run's progress, as far as it is of the kind that it should be."""
    content = _mapping(line)
    return {name: content[name] for name, kind in PROGRESS.items() if type(content.get(name)) in kind}


def _make(path: Path, root: Path, released: bool = False) -> _Held | None:
    """Make a file of the chain; None where another process has made it.

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
    """Give a file that was written its name, and return it open, and whether nothing else had that name."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        try:
            return handle, os.path.samestat(os.stat(path), os.fstat(handle))  # NFS may tell of its own repetition
        except FileNotFoundError:
            return handle, False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return _copy(handle, path)
    return handle, True


def _copy(handle: int, path: Path) -> tuple[int, bool]:
    """The same where there are no hard links; a process that looks at once may see the file without its content."""
    try:
        other = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return handle, False
    os.write(other, os.pread(handle, LARGEST, 0))
    os.close(handle)
    return other, True


def _progress_line(progress: Mapping[str, Any]) -> bytes:
    """How far a run is, as long as every such line."""
    text = json.dumps(dict(progress)).encode()
    return (text if len(text) < PADDED else b"{}").ljust(PADDED - 1) + b"\n"


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


@cache
def _home() -> str:
    """Where numbers of processes mean what they mean here; empty where the system does not say."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(PROC / 'self/ns/pid')}"
    except OSError:
        return ""


def _born(pid: int) -> str:
    """When a process began, by the system's count; empty where there is none, or the system does not say."""
    try:
        words = (PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "" if words[0] in (b"Z", b"X") else words[19].decode()
