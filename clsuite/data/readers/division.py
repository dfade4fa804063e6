"""Division of a data set without a test part as PyTorch's ``random_split`` does it: as a whole, not class by class."""

from __future__ import annotations

from collections.abc import Sequence

from clsuite.data.manifest import Sample


def random_division(samples: Sequence[Sample], share: float, seed: int) -> list[Sample]:
    """Assign samples to two parts at random.

    The samples are taken in the order of their paths. This is the order of torchvision's Caltech101 and EuroSAT. That
    of its SUN397 is the file system's, so that it differs between machines, and no division of it can be repeated.

    Args:
        samples: The samples.
        share: Share of them all in the training part, rounded down.
        seed: Seed of PyTorch's generator.
    """
    import torch
    from torch.utils.data import Subset, random_split

    ordered = sorted(samples)
    sizes = [int(share * len(ordered)), len(ordered) - int(share * len(ordered))]
    generator = torch.Generator().manual_seed(seed)
    parts: list[Subset[Sample]] = random_split(ordered, sizes, generator)  # type: ignore[arg-type]
    rows = set(parts[0].indices)
    return [sample._replace(is_test=row not in rows) for row, sample in enumerate(ordered)]
