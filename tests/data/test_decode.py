"""From an image file to pixels: upright, on white, eight bits, square."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from clsuite.data import decode as module
from clsuite.data.decode import center_square, decode
from clsuite.data.image_convert import square_pixels
from clsuite.errors import UserError

RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def corner(path: Path, size: int = 8) -> list[int]:
    return [int(value) for value in decode(path, size)[:, 0, 0]]


@pytest.mark.parametrize(("ending", "mode"), [("png", "I;16"), ("tif", "I;16"), ("tif", "I;16B"), ("pgm", "I;16")])
def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path, ending: str, mode: str) -> None:
    values = RAMP.astype(np.uint16) * 257
    if mode == "I;16B":
        image = Image.frombytes(mode, (8, 8), values.astype(">u2").tobytes())
    else:
        image = Image.fromarray(values)
    image.save(tmp_path / f"i.{ending}")
    for channel in decode(tmp_path / f"i.{ending}", 8):
        np.testing.assert_array_equal(channel, RAMP)


def test_sixteen_bits_are_scaled_by_their_whole_range_and_rounded(tmp_path: Path) -> None:
    values = np.array([[0, 128], [129, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "i.png")
    assert decode(tmp_path / "i.png", 2)[0].tolist() == [[0, 0], [1, 255]]


@pytest.mark.parametrize(("values", "kind"), [(np.float32(0.5), "floats"), (np.int32(70_000), "32-bit numbers")])
def test_floats_and_long_numbers_are_refused(tmp_path: Path, values: np.generic, kind: str) -> None:
    Image.fromarray(np.full((4, 4), values)).save(tmp_path / "i.tif")
    with pytest.raises(UserError, match=rf"the image '.*i\.tif' has {kind} as values, whose range is not known: save"):
        decode(tmp_path / "i.tif", 4)
    with pytest.raises(UserError, match=f"sample 3 has {kind} as values"):
        square_pixels(Image.fromarray(np.full((4, 4), values)), 4, "sample 3")


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_upright(tmp_path: Path, orientation: int, ending: str) -> None:
    marked = np.zeros((32, 32), np.uint8)
    marked[:16, :16], marked[:16, 16:] = 250, 120
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"i.{ending}"
    Image.fromarray(marked).convert("RGB").save(path, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_array_equal(decode(path, 32), expected)
    turned = [(4, 4), (4, 27), (27, 27), (27, 4), (4, 4), (4, 27), (27, 27), (27, 4)][orientation - 1]
    assert abs(int(decode(path, 32)[0][turned]) - 250) < 10


def test_exif_data_that_cannot_be_read_say_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (4, 4), (1, 2, 3)).save(tmp_path / "i.png")

    def fail(_: Image.Image) -> None:
        raise SyntaxError("not a TIFF file")

    monkeypatch.setattr(Image.Image, "getexif", fail)
    assert corner(tmp_path / "i.png", 4) == [1, 2, 3]


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("RGBA", (255, 0, 255, 0), [255, 255, 255]), ("RGBA", (1, 2, 3, 255), [1, 2, 3]),
        ("RGBA", (0, 100, 200, 51), [204, 224, 244]), ("LA", (9, 0), [255, 255, 255]), ("LA", (9, 255), [9, 9, 9]),
    ],
)  # fmt: skip
def test_transparency_lies_on_white(tmp_path: Path, mode: str, color: tuple[int, ...], expected: list[int]) -> None:
    Image.new(mode, (4, 4), color).save(tmp_path / "i.png")
    assert corner(tmp_path / "i.png", 4) == expected
    assert square_pixels(Image.new(mode, (4, 4), color), 4, "x")[:, 0, 0].tolist() == expected


@pytest.mark.parametrize(("mode", "key"), [("P", 0), ("P", b"\x00\x80"), ("L", 0), ("RGB", (0, 0, 0)), ("1", 0)])
def test_a_transparent_color_is_white_too(tmp_path: Path, mode: str, key: object) -> None:
    Image.new(mode, (4, 4), 0).save(tmp_path / "i.png", transparency=key)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert corner(tmp_path / "i.png", 4) == [255, 255, 255]


def test_a_transparent_gif_and_a_transparent_value_of_sixteen_bits(tmp_path: Path) -> None:
    Image.new("P", (4, 4), 0).save(tmp_path / "i.gif", transparency=0)
    assert corner(tmp_path / "i.gif", 4) == [255, 255, 255]
    deep = Image.fromarray(np.array([[7, 0], [257, 7]], np.uint16))
    deep.info["transparency"] = 7
    assert np.asarray(module.on_white(deep, "x")).tolist() == [[255, 0], [1, 255]]


@pytest.mark.parametrize("mode", ["L", "1", "CMYK", "YCbCr", "RGB", "P"])
def test_plain_images_are_what_they_were(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(np.random.RandomState(0).randint(0, 256, (40, 30, 3)).astype(np.uint8)).convert(mode)
    path = tmp_path / ("i.jpg" if mode in ("CMYK", "YCbCr") else "i.png")
    image.save(path)
    resized = Image.open(path).convert("RGB").resize((16, 21), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(decode(path, 16), np.asarray(resized.crop((0, 2, 16, 18))).transpose(2, 0, 1))


@pytest.mark.parametrize("size", [(300, 20), (20, 331), (1000, 50), (3000, 7), (64, 2000)])
def test_a_thin_image_shows_the_middle_of_the_resized_one(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    across, down = np.meshgrid(np.linspace(0, 40, size[0]), np.linspace(0, 40, size[1]))
    smooth = np.stack([127 + 100 * np.sin(across), 127 + 100 * np.cos(down), across * 6], axis=2).astype(np.uint8)
    image = Image.fromarray(smooth)
    monkeypatch.setattr(module, "THIN", 10**9)
    whole = np.asarray(center_square(image, 24)).astype(int)
    monkeypatch.setattr(module, "THIN", 0)
    assert np.abs(np.asarray(center_square(image, 24)) - whole).max() <= 1


@pytest.mark.parametrize("size", [(20_000, 1), (1, 60_000), (100_000, 3)])
def test_a_thin_image_takes_some_megabytes(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, (1, 2, 3)).save(tmp_path / "thin.png")
    script = (
        "import resource, sys; from pathlib import Path; import numpy as np; from PIL import Image\n"
        "from clsuite.data.decode import decode; from clsuite.data.image_convert import square_pixels\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "one = decode(Path(sys.argv[1]), 224); other = square_pixels(Image.open(sys.argv[1]), 224, 'x')\n"
        "assert one.shape == other.shape == (3, 224, 224) and (one == other).all()\n"
        "assert one[:, 0, 0].tolist() == [1, 2, 3]\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "thin.png")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 60_000  # kB


def test_no_memory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "i.png")

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(module, "center_square", fail)
    with pytest.raises(UserError, match=r"cannot decode the image '.*i\.png': MemoryError"):
        decode(tmp_path / "i.png", 4)


# -- images of other libraries --


@pytest.mark.parametrize("kind", [np.int64, np.uint16, np.int16, np.int32])
def test_whole_numbers_that_are_not_uint8_say_what_they_are(kind: type[np.generic]) -> None:
    with pytest.raises(
        UserError, match=rf"x has values in 0\.\.252 \({kind.__name__}\): they must be uint8, or floats"
    ):
        square_pixels(RAMP.astype(kind), 8, "x")


def test_numbers_that_do_not_fit_are_to_be_scaled() -> None:
    with pytest.raises(UserError, match=r"0\.\.65535 \(uint16\): they must be uint8, or floats in 0\.\.1; scale them"):
        square_pixels(np.array([[0, 65535]] * 2, np.uint16), 2, "x")
    with pytest.raises(UserError, match="an image of 0 and 1 is given as bool"):
        square_pixels(np.array([[0, 1]] * 2, np.int64), 2, "x")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (RAMP.astype(np.float32), r"x has values in 0\.\.252 \(float32\): .*; divide them by 255"),
        (RAMP.astype(np.float32) * 257, "divide them by their largest possible value"),
        (RAMP.astype(np.float32) / 64 - 2, "take normalization out of the eval transform"),
        (np.full((4, 4), np.nan, np.float32), "NaN or infinite"),
        (np.full((4, 4), "a"), "values of type"),
        (np.zeros((2, 3, 4, 4), np.uint8), r"has shape \(2, 3, 4, 4\)"),
    ],
)
def test_other_floats_say_what_they_are(values: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        square_pixels(values, 8, "x")


def test_floats_in_0_to_1_and_bools_are_taken() -> None:
    np.testing.assert_array_equal(square_pixels(RAMP / np.float32(255), 8, "x")[0], RAMP)
    assert square_pixels(np.array([[True, False]] * 2), 2, "x").tolist() == [[[255, 0], [255, 0]]]
