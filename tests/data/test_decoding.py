"""Decoding: the same table for any number of processes, and after any interruption."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clsuite.data.cache import cached_table
from clsuite.data.decoding import DecoderKilledError, Job, decode_all, pool
from clsuite.data.decoding.job import CHUNK
from clsuite.data.manifest import Manifest, Sample, list_pixels, list_samples
from clsuite.data.progress import progress_to
from clsuite.errors import UserError

NUMBER = 5 * CHUNK + 7
PIXELS = np.random.RandomState(0).randint(0, 256, (NUMBER, 6, 6, 3)).astype(np.uint8)


def pixel_listing() -> Manifest:
    labels = np.arange(NUMBER) % 3
    return list_pixels((PIXELS[:-9], labels[:-9]), (PIXELS[-9:], labels[-9:]), ["a", "b", "c"])


@pytest.fixture(scope="module")
def file_listing(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    root = tmp_path_factory.mktemp("images")
    for index, image in enumerate(PIXELS):
        Image.fromarray(image).save(root / f"{index}.png")
    samples = [Sample(f"{index}.png", "abc"[index % 3], index % 5 == 0) for index in range(NUMBER)]
    return list_samples(root, samples)


def expected(size: int) -> np.ndarray:
    resized = [Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC) for image in PIXELS]
    return np.stack([np.asarray(image) for image in resized]).transpose(0, 3, 1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_number_of_processes_changes_nothing(tmp_path: Path, file_listing: Manifest, workers: int) -> None:
    for name, manifest in (("files", file_listing), ("pixels", pixel_listing())):
        job = Job.prepare(tmp_path / name, manifest, 9)
        decode_all(job, workers)
        np.testing.assert_array_equal(np.load(job.folder / "images.npy"), expected(9))
        assert job.missing() == []


@pytest.mark.slow
def test_digests_are_the_same_in_processes_of_their_own(tmp_path: Path, file_listing: Manifest) -> None:
    tables = [cached_table(["x"], 6, lambda: file_listing, folder=tmp_path / str(n), workers=n) for n in (1, 2)]
    np.testing.assert_array_equal(tables[0].digests, tables[1].digests)
    assert len(np.unique(tables[0].digests, axis=0)) == NUMBER


def test_processes_are_used_and_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    real = pool._Worker

    class Counting(real):  # type: ignore[misc, valid-type]
        def __init__(self, job: Job) -> None:
            started.append(1)
            super().__init__(job)

    monkeypatch.setattr(pool, "_Worker", Counting)
    heard: list[tuple[int, int]] = []
    with progress_to(lambda what, done, total: heard.append((done, total))):
        decode_all(Job.prepare(tmp_path, pixel_listing(), 6), 2)
    assert len(started) == 2
    assert heard[0] == (0, NUMBER)
    assert heard[-1] == (NUMBER, NUMBER)
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)
    assert len(heard) == 7


def test_the_processes_do_without_torch(tmp_path: Path) -> None:
    script = "import sys; import clsuite.data.decoding.worker; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_finished_chunk_is_not_done_again(tmp_path: Path) -> None:
    job = Job.prepare(tmp_path, pixel_listing(), 6)
    job.fill(1)
    job.fill(4)
    assert Job.prepare(tmp_path, pixel_listing(), 6).missing() == [0, 2, 3, 5]


def test_a_chunk_whose_pixels_got_lost_is_done_again(tmp_path: Path) -> None:
    """After a power cut the mark may be on disk and the pixels not."""
    job = Job.prepare(tmp_path, pixel_listing(), 6)
    decode_all(job, 1)
    np.load(tmp_path / "images.npy", mmap_mode="r+")[CHUNK + 3, 0, 0, 0] += 1
    assert job.missing() == [1]
    decode_all(job, 1)
    np.testing.assert_array_equal(np.load(tmp_path / "images.npy"), expected(6))


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_decoding import pixel_listing
from clsuite.data.cache import cached_table
from clsuite.data.progress import progress_to

with progress_to(lambda what, done, total: done >= 512 and os._exit(9)):
    cached_table(["x"], 9, pixel_listing, folder=Path(sys.argv[1]), workers=int(sys.argv[3]))
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_decoding_goes_on_where_it_was(tmp_path: Path, workers: int) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parent), str(workers)]
    killed = subprocess.run(command, check=False)
    assert killed.returncode == 9
    (left,) = (tmp_path / "tables").iterdir()
    assert left.name.startswith(".building-")
    heard: list[int] = []
    with progress_to(lambda what, done, total: heard.append(done)):
        table = cached_table(["x"], 9, pixel_listing, folder=tmp_path, workers=1)
    assert heard[0] >= 2 * CHUNK
    np.testing.assert_array_equal(table.images, expected(9))
    assert len(list((tmp_path / "tables").iterdir())) == 1


def test_an_interrupted_decoding_keeps_what_it_has(tmp_path: Path) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if done >= CHUNK:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), progress_to(interrupt):
        cached_table(["x"], 6, pixel_listing, folder=tmp_path, workers=1)
    (left,) = (tmp_path / "tables").iterdir()
    assert Job.open(left).missing() == [1, 2, 3, 4, 5]


def test_a_killed_process_is_a_complaint_and_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = pool._Worker

    class Dying(real):  # type: ignore[misc, valid-type]
        def fill(self, chunk: int) -> int:
            if chunk == 4:
                self._process.kill()
                self._process.wait()
            return super().fill(chunk)

    monkeypatch.setattr(pool, "_Worker", Dying)
    with pytest.raises(DecoderKilledError, match=r"killed .* decoded images are kept"):
        cached_table(["x"], 6, pixel_listing, folder=tmp_path, workers=2)
    (left,) = (tmp_path / "tables").iterdir()
    assert 4 in Job.open(left).missing()
    assert len(Job.open(left).missing()) < 6
    monkeypatch.setattr(pool, "_Worker", real)
    table = cached_table(["x"], 6, pixel_listing, folder=tmp_path, workers=2)
    np.testing.assert_array_equal(table.images, expected(6))


@pytest.mark.slow
def test_an_unreadable_image_is_named_by_a_process_of_its_own(tmp_path: Path) -> None:
    Image.fromarray(PIXELS[0]).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG broken")
    names = ["good.png"] * NUMBER
    names[3 * CHUNK] = "bad.png"
    manifest = list_samples(tmp_path, [Sample(name, "a", False) for name in names])
    with pytest.raises(UserError, match=r"cannot decode the image '.*bad\.png'.*Repair or delete the file"):
        cached_table(["x"], 6, lambda: manifest, folder=tmp_path / "cache", workers=2)
    assert list((tmp_path / "cache" / "tables").iterdir()) == []


def test_an_image_that_is_gone_is_named(tmp_path: Path) -> None:
    manifest = list_samples(tmp_path, [Sample("gone.png", "a", False)])
    with pytest.raises(UserError, match=r"cannot read the image '.*gone\.png': No such file"):
        cached_table(["x"], 6, lambda: manifest, folder=tmp_path / "cache")


def test_gray_images_have_one_channel_and_their_own_size_stays(tmp_path: Path) -> None:
    gray = PIXELS[:4, :, :, 0].copy()
    manifest = list_pixels((gray[:2], np.array([0, 1])), (gray[2:], np.array([1, 0])), ["a", "b"])
    table = cached_table(["x"], 6, lambda: manifest, folder=tmp_path)
    np.testing.assert_array_equal(table.images[:, 0], gray)
    assert table.images.shape == (4, 1, 6, 6)
