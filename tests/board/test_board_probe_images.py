"""Images of a record's probes are those at hand, and as many as they can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from published_records import make_record

from clsuite.board.validate.probe_images import probe_image_problem
from clsuite.board.validate.streams import Streams
from clsuite.errors import AbsentError
from clsuite.probes.counted import images_classified
from clsuite.probes.probes import split_index_queries
from clsuite.probes.spec import HeadProbe, KnnProbe
from clsuite.records import ProbeEntry, RunRecord, read_predictions, read_record
from clsuite.runner.record_config import probe_config

SIZE = 8


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three classes of four images where the shipped benchmarks have the images of their probes."""
    for number, name in enumerate(("a", "b", "c")):
        (tmp_path / "imagenet_probe" / name).mkdir(parents=True)
        for image in range(4):
            pixels = np.full((SIZE, SIZE, 3), 40 * number + image, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "imagenet_probe" / name / f"{image}.png")
    return tmp_path


def record_with(entry: dict[str, Any], n: int | None, benchmark: str = "tiny") -> RunRecord:
    record, values = make_record("plain", 0), [0.5] * 4 if n else [None] * 4
    probe = ProbeEntry.model_validate({
        "name": entry.get("name") or entry["kind"], "higher_is_better": True, "values": values,
        "correct": [n // 2] * 4 if n else None, "n": n,
    })  # fmt: skip
    config = {**record.config, "probes": [entry]}
    return record.model_copy(update={"benchmark": benchmark, "config": config, "probes": [probe]})


@pytest.mark.parametrize(
    ("probe", "due"),
    [
        (HeadProbe(path="imagenet_probe"), 12),
        (HeadProbe(path="imagenet_probe", images_per_class=2, name="few"), 6),
        (KnnProbe(path="imagenet_probe", index=1, queries=2), 6),
        (KnnProbe(path="imagenet_probe", index=1, queries=10), 9),
    ],
)
def test_right_answers_are_of_as_many_images_as_a_probe_classifies(
    root: Path, probe: HeadProbe | KnnProbe, due: int
) -> None:
    entry = probe_config(probe, SIZE, root)
    name = entry["name"] or entry["kind"]
    assert probe_image_problem(record_with(entry, due), SIZE, root, 0) == ""
    assert probe_image_problem(record_with(entry, None), SIZE, root, 0) == ""
    told = probe_image_problem(record_with(entry, 2 * due), SIZE, root, 0)
    assert told == f"probes.{name}: it says {2 * due} images, but classifies {due}"


def test_the_number_of_queries_is_that_of_the_probe_itself(root: Path) -> None:
    labels = np.repeat(np.arange(3), 4)
    for index, queries in ((1, 1), (2, 5), (3, 1)):
        spec = KnnProbe(path="imagenet_probe", index=index, queries=queries)
        assert images_classified(spec, SIZE, root) == len(split_index_queries(labels, index, queries, "")[1])


def test_domains_that_are_left_out_have_so_many_images() -> None:
    entry = {"kind": "left_out_domains", "name": None}
    assert probe_image_problem(record_with(entry, 40), SIZE, None, 40) == ""
    assert "says 400 images, but classifies 40" in probe_image_problem(record_with(entry, 400), SIZE, None, 40)


def test_images_that_are_not_at_hand_are_absent(root: Path, tmp_path: Path) -> None:
    entry = {**probe_config(HeadProbe(path="imagenet_probe"), SIZE, root), "fingerprint": "0" * 32}
    with pytest.raises(AbsentError, match="the images of probe 'head' are not where a shipped benchmark has them"):
        probe_image_problem(record_with(entry, 12), SIZE, root, 0)
    with pytest.raises(AbsentError, match="nowhere"):
        probe_image_problem(record_with(entry, 12, "pacs"), SIZE, tmp_path / "nowhere", 0)


def test_a_shipped_benchmark_says_which_images_they_are(root: Path) -> None:
    entry = probe_config(HeadProbe(path="imagenet_probe"), SIZE, root)
    assert probe_image_problem(record_with(entry, 12, "cifar100_tiny_10"), SIZE, root, 0) == ""
    other = {**entry, "fingerprint": "0" * 32}
    told = probe_image_problem(record_with(other, 12, "cifar100_tiny_10"), SIZE, root, 0)
    assert told == "config.probes: 'head' is on other images than those available"
    few = {**entry, "images_per_class": 1}
    told = probe_image_problem(record_with(few, 3, "cifar100_tiny_10"), SIZE, root, 0)
    assert told == "config.probes: 'head' has another images_per_class than its benchmark asks for"


def test_a_record_is_judged_by_them_or_told_not_to_be(root: Path) -> None:
    records = Path(__file__).parents[2] / "leaderboard" / "records" / "quickstart" / "ncm"
    path = next(path for path in sorted(records.glob("*.json")) if not path.name.endswith(".rerun.json"))
    record, arrays = read_record(path), read_predictions(path.with_suffix(".npz"))
    for entry, told in (({"kind": "left_out_domains"}, "it says 4 images, but classifies 0"), ({"kind": "head"}, "")):
        streams = Streams(root)
        probes = record_with(entry, 4).probes
        other = record.model_copy(update={"config": {**record.config, "probes": [entry]}, "probes": probes})
        assert told in streams.judge(other, arrays)
        assert bool(streams.images_unchecked) == (not told)
