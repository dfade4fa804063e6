"""Decoding processes: plain Python interpreters without torch, which receive one chunk at a time.

They are started as ``python -m clsuite.data.decoding.worker``. multiprocessing would either import the user's script
again in each child (so that every script would need a ``__main__`` guard), or fork a process that has threads.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from typing import Self

from clsuite.data.cores import count_cores
from clsuite.data.decoding.job import Job
from clsuite.data.progress import report_progress
from clsuite.errors import UserError
from clsuite.interpreters import PYTHON, own_path

MANY = 4
"""With fewer remaining chunks than this, starting processes takes longer than it saves."""


def decode_all(job: Job, workers: int | None = None) -> None:
    """Decode the missing chunks of a job.

    Args:
        job: The job.
        workers: Number of processes; one per core by default. The result does not depend on it.

    Raises:
        UserError: If an image cannot be decoded (it is named), or a process is killed.
    """
    missing = job.missing()
    done = job.count - sum(job.length(chunk) for chunk in missing)
    number = min(workers or count_cores(), len(missing))
    finished = _here(job, missing) if number < 2 or len(missing) < MANY else _elsewhere(job, missing, number)
    report_progress("decoding images", done, job.count)
    for chunk in finished:
        done += job.length(chunk)
        report_progress("decoding images", done, job.count)


def _here(job: Job, chunks: Sequence[int]) -> Iterator[int]:
    for chunk in chunks:
        job.fill(chunk)
        yield chunk


def _elsewhere(job: Job, chunks: Sequence[int], number: int) -> Iterator[int]:
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()

    def work(chunk: int) -> int:
        worker = idle.get()
        try:
            return worker.fill(chunk)
        finally:
            idle.put(worker)

    with ExitStack() as stack:
        for _ in range(number):
            idle.put(stack.enter_context(_Worker(job)))
        threads = stack.enter_context(ThreadPoolExecutor(number))
        futures = [threads.submit(work, chunk) for chunk in chunks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            threads.shutdown(cancel_futures=True)


class DecoderKilledError(UserError):
    """A decoding process was killed; finished chunks are kept."""


class _Worker:
    """A decoding process and the pipes to it."""

    def __init__(self, job: Job) -> None:
        self._process = subprocess.Popen(
            [*PYTHON, "-m", "clsuite.data.decoding.worker", str(job.folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
            env={**os.environ, "PYTHONPATH": own_path(), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def fill(self, chunk: int) -> int:
        """Let the process decode a chunk; returns its number."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            print(chunk, file=stdin, flush=True)
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise DecoderKilledError(
                "a decoding process was killed (out of memory?): run it again, decoded images are kept"
            )
        answer = json.loads(line)
        if "error" in answer:
            raise UserError(answer["error"])
        return chunk
