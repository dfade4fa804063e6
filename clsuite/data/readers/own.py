"""A user's own images in any supported layout: trees with or without test part, lists, Hugging Face image folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from clsuite.config.paths import cache_folder
from clsuite.data.file_digests import with_digests
from clsuite.data.folder import (
    LAYOUTS,
    TRAIN_NAMES,
    LeftOut,
    find_part,
    folders_in,
    is_image,
    is_tree,
    list_classes,
    names_in,
    refuse_parts,
)
from clsuite.data.manifest import Manifest, Sample
from clsuite.data.readers.lists import OWN_LISTS, find_list, find_metadata, read_lists
from clsuite.data.readers.tree import by_folders, list_named, read_tree
from clsuite.errors import UserError, warn_of
from clsuite.regular_files import is_no_folder

HELD_OUT = 0.2
"""Default share of each class that is held out for testing if the images have no test part."""


def read_own(place: Path, share: float | None) -> Manifest:
    """Read a folder or a list of images.

    Args:
        place: A folder, or a file that lists images.
        share: Share of each class to hold out if there is no test part; None stands for 0.2.

    Raises:
        UserError: If the layout is unknown, or `share` is passed although there is a test part.
    """
    if is_no_folder(place):
        return _listed(place.parent, [place], share)
    if _is_split(place):
        _refuse_share(place, share)
        if unread := find_list(place, OWN_LISTS):
            warn_of(
                f"'{unread}' is not read because there is a train folder: name the list itself as path if it counts"
            )
        return read_tree(place)
    lists = [path for path in [find_list(place, OWN_LISTS)] if path] or find_metadata(place)
    if lists:
        return _listed(place, lists, share)
    if is_tree(place):
        return read_tree(place)
    return held_out(list_named(place, _list_unsplit(place), by_folders), f"'{place}'", share)


def _is_split(place: Path) -> bool:
    """Whether ``train`` contains class folders, or there are domain folders with ``train`` inside."""
    train = find_part(place, TRAIN_NAMES)
    return bool(folders_in(place / train)) if train is not None else is_tree(place)


def _refuse_share(place: Path, share: float | None) -> None:
    if share is not None:
        raise UserError(f"'{place}' has a test part, so that nothing is held out: remove 'split' from the dataset")


def _listed(root: Path, lists: list[Path], share: float | None) -> Manifest:
    samples, split = read_lists(root, lists)
    manifest = list_named(root, samples, by_folders)
    if not split:
        return held_out(manifest, f"'{lists[0]}'", share)
    _refuse_share(lists[0], share)
    trained = {(sample.domain, sample.label) for sample in samples if not sample.is_test}
    for sample in samples:
        if (sample.domain, sample.label) not in trained:
            raise UserError(f"class '{sample.label}' of '{lists[0]}' has test images but no training images")
    return manifest


def _list_unsplit(root: Path) -> list[Sample]:
    """The images in ``CLASS/*``, otherwise those in ``DOMAIN/CLASS/*``."""
    folders, left_out = folders_in(root), LeftOut()
    refuse_parts(root)
    if any(_holds_images(root / name) for name in folders):
        samples = [Sample(path, label, False) for path, label in list_classes(root, "", left_out)]
    else:
        domains = [
            name for name in folders if any(_holds_images(root / name / child) for child in folders_in(root / name))
        ]
        for domain in domains:
            refuse_parts(root / domain)
        samples = [
            Sample(path, label, False, domain)
            for domain in domains
            for path, label in list_classes(root, domain, left_out)
        ]
    if not samples:
        raise UserError(f"'{root}' has no images in a known layout: {LAYOUTS}")
    left_out.warn(root)
    return samples


def _holds_images(folder: Path) -> bool:
    return any(is_image(name) for name in names_in(folder))


def held_out(manifest: Manifest, what: str, share: float | None) -> Manifest:
    """Hold out a test part, selected by the content of each image alone.

    An image is held out if the hash of its content, as a number from 0 to 1, is below the share. This does not depend
    on the other images or on a seed, and copies of an image are always in the same part. Only if a class would have no
    test or no training images, the image with the lowest hash is moved to the test part, or the one with the highest to
    the training part.

    Args:
        manifest: The samples.
        what: Their name for messages.
        share: Share of each class to hold out; None stands for 0.2.

    Raises:
        UserError: If a class has a single image.
    """
    wanted = HELD_OUT if share is None else share
    known = with_digests(manifest, cache_folder())
    numbers = np.ascontiguousarray(known.digests[:, :8]).view(">u8").ravel() / 2.0**64
    is_test = numbers < wanted
    groups = known.labels * len(known.domain_names) + known.domains
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        if len(rows) < 2:
            name = known.classes[int(known.labels[rows[0]])]
            raise UserError(f"class '{name}' of {what} has a single image: it cannot be split into two parts")
        if is_test[rows].all():
            is_test[rows[np.argmax(numbers[rows])]] = False
        elif not is_test[rows].any():
            is_test[rows[np.argmin(numbers[rows])]] = True
    warn_of(
        f"{what} has no test part: of each class about {100 * wanted:g} % are held out for testing, {is_test.sum()} "
        f"of {len(is_test)} images, by a hash of their content (dataset: {{split: {wanted:g}}} is the share)"
    )
    return replace(known, is_test=is_test)
