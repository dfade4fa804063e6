"""The digits and their fixed split."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from clsuite.data.digits import digits_table
from clsuite.data.table import ImageTable


@pytest.fixture(scope="module")
def digits() -> ImageTable:
    return digits_table(8)


def test_all_of_it(digits: ImageTable) -> None:
    assert digits.images.shape == (1797, 1, 8, 8)
    assert digits.images.dtype == np.uint8
    assert digits.classes == tuple("0123456789")
    assert len(digits) == 1797
    assert (digits.images.min(), digits.images.max()) == (0, 255)


def test_thirty_per_cent_of_each_class_are_test_images(digits: ImageTable) -> None:
    for label in range(10):
        members = digits.labels == label
        assert digits.is_test[members].sum() == round(0.3 * members.sum())


def test_the_split_is_for_good(digits: ImageTable) -> None:
    """Published numbers rest on it."""
    assert hashlib.sha256(np.packbits(digits.is_test).tobytes()).hexdigest()[:16] == "01618b12e3aec270"


def test_the_split_is_not_in_the_order_of_the_file(digits: ImageTable) -> None:
    """The digits come writer by writer: the first images of a class must not all be test images."""
    for label in range(10):
        test = digits.is_test[digits.labels == label]
        assert 0 < test[: test.sum()].sum() < test.sum()


def test_the_split_is_the_same_at_other_sizes(digits: ImageTable) -> None:
    larger = digits_table(16)
    assert larger.images.shape == (1797, 1, 16, 16)
    np.testing.assert_array_equal(larger.is_test, digits.is_test)
    np.testing.assert_array_equal(larger.digests, digits.digests)


def test_every_image_has_an_id_of_its_own(digits: ImageTable) -> None:
    assert len({row.tobytes() for row in digits.digests}) == 1797


def test_at_its_own_size_nothing_is_resized(digits: ImageTable) -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    np.testing.assert_array_equal(digits.labels, bunch.target)
    np.testing.assert_array_equal(digits.images[:, 0], np.round(bunch.images * 255 / 16).astype(np.uint8))


SCRIPT = """
import hashlib
from clsuite.data.digits import digits_table
table = digits_table(8)
print(hashlib.sha256(b"".join(getattr(table, name).tobytes() for name in %r)).hexdigest())
"""
COLUMNS = ("images", "labels", "is_test", "digests")


@pytest.mark.slow
def test_another_process_makes_the_same_table(digits: ImageTable) -> None:
    here = hashlib.sha256(b"".join(getattr(digits, name).tobytes() for name in COLUMNS)).hexdigest()
    there = subprocess.run([sys.executable, "-c", SCRIPT % (COLUMNS,)], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here
