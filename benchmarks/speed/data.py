"""Images per second that reach the network, augmented: clsuite's table against torchvision's ImageFolder.

Run as ``python benchmarks/speed/data.py FOLDER``, where ``FOLDER/train/CLASS/*`` are images. Every contestant delivers
shuffled, normalized float batches of all training images, after a random resized crop (8 to 100 % of the area) and a
random flip. The contestants take turns, epoch by epoch, in one process. The first epoch of each is not counted: before
it clsuite decodes its table (unless it is there from before), and in it workers start. What differs in meaning:

* clsuite cuts boxes from the images as its table has them: the shorter side resized and the center cut out, once.
  torchvision cuts them from the decoded originals, each time. So clsuite's boxes are never reduced and hold no more
  detail than the table.
* clsuite works in the main process, on ``--threads`` threads; DataLoader with 2 workers uses two processes beside it.

``--rows N`` instead reads one epoch of a memory-mapped table of N images, the folder's over and over, and prints by how
much the resident memory grows beyond the first batch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from data_pipelines import clsuite_batches, folder_batches, images_in, large_table, table_batches
from measure import PeakMemory
from rich.console import Console
from rich.table import Table

CLSUITE = "clsuite"
Batches = Iterable[object]


@dataclass(frozen=True)
class Throughput:
    """What one contestant delivered.

    Attributes:
        name: The contestant.
        image_size: Side in pixels.
        images: Images of an epoch.
        seconds: Of each counted epoch.
        ratio: Images per second of clsuite over those of this one, by the medians.
    """

    name: str
    image_size: int
    images: int
    seconds: list[float]
    ratio: float

    @property
    def rate(self) -> float:
        """Images per second in the median epoch."""
        return self.images / statistics.median(self.seconds)


def main() -> None:
    """Read the command line, measure, show and save."""
    arguments = _parse()
    torch.set_num_threads(arguments.threads)
    if arguments.rows:
        _measure_memory(arguments)
        return
    measured = [each for size in arguments.image_size for each in _race(arguments, size)]
    _show(measured, f"{measured[0].images} images, batches of {arguments.batch_size}, {arguments.threads} threads")
    if arguments.json:
        figures = [{**asdict(each), "images_per_second": each.rate} for each in measured]
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Images per second: clsuite's table against torchvision's ImageFolder."
    )
    parser.add_argument("folder", type=Path, help="folder that holds train/CLASS/*")
    parser.add_argument("--image-size", type=int, nargs="+", default=[128, 224])
    parser.add_argument("--epochs", type=int, default=3, help="counted epochs, after one that is not counted")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="numbers of DataLoader workers")
    parser.add_argument("--rows", type=int, help="measure the memory of a table of that many images instead")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


def _race(arguments: argparse.Namespace, size: int) -> list[Throughput]:
    folder, batch_size = arguments.folder, arguments.batch_size
    contestants: dict[str, Callable[[], Batches]] = {CLSUITE: lambda: clsuite_batches(folder, size, batch_size)}
    for workers in arguments.workers:
        for version in ("v1", "v2"):
            contestants[f"ImageFolder, transforms.{version}, {workers} workers"] = (
                lambda workers=workers, version=version: folder_batches(folder, size, batch_size, workers, version)
            )
    made = {name: make() for name, make in contestants.items()}
    images = 0
    for name, batches in made.items():
        print(f"{size} px, first epoch of {name} ...", flush=True)
        images = images_in(batches)
    seconds: dict[str, list[float]] = {name: [] for name in made}
    for epoch in range(arguments.epochs):
        print(f"{size} px, epoch {epoch + 1} of {arguments.epochs} of each ...", flush=True)
        for name, batches in made.items():
            seconds[name].append(_timed(batches))
    ratios = {name: statistics.median(each) / statistics.median(seconds[CLSUITE]) for name, each in seconds.items()}
    return [Throughput(name, size, images, each, ratios[name]) for name, each in seconds.items()]


def _timed(batches: Batches) -> float:
    started = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - started


def _measure_memory(arguments: argparse.Namespace) -> None:
    size = arguments.image_size[0]
    with tempfile.TemporaryDirectory() as scratch:
        table = large_table(arguments.folder, size, arguments.rows, Path(scratch))
        batches = iter(table_batches(table, arguments.batch_size))
        next(batches)
        with PeakMemory() as memory:
            seconds = _timed(batches)
    print(
        f"{arguments.rows} images of {size} px, {table.images.nbytes / 1e6:.0f} MB on disk: resident memory grew by "
        f"{memory.growth / 1e6:.0f} MB beyond the first batch; {arguments.rows / seconds:.0f} images per second"
    )


def _show(measured: list[Throughput], title: str) -> None:
    table = Table(title=title)
    for heading in ("contestant", "px", "images/s", "slowest epoch", "fastest epoch", "clsuite is"):
        table.add_column(heading, justify="left" if heading == "contestant" else "right")
    for each in measured:
        slowest, fastest = (f"{each.images / seconds:.0f}" for seconds in (max(each.seconds), min(each.seconds)))
        ratio = "" if each.name == CLSUITE else f"{each.ratio:.1f} x as fast"
        table.add_row(each.name, str(each.image_size), f"{each.rate:.0f}", slowest, fastest, ratio)
    console = Console()
    (console if console.is_terminal else Console(width=110)).print(table)


if __name__ == "__main__":
    main()
