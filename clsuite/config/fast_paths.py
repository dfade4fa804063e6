"""One switch for all shortcuts that rest on how other libraries work inside: ``CLSUITE_FAST_PATHS=0`` takes none.

They are: the last block of a ViT for its class token alone (``backbones/class_token.py``), matrix products in place of
kernels that are slow in bfloat16 on a CPU (``backbones/slow_kernels.py``), and memory of batches that is used again
(``data/buffer_pool.py``). The mathematics are the same with and without. The first two add floating point numbers in
another order, so that last bits may differ, as they do between two processors; the third changes no bit.

The switch is therefore not part of a run's key, nor is the processor. A record's environment says so where it was
off (``fast_paths: false``), and a rerun with the other setting is compared within the tolerances of another machine.
"""

from __future__ import annotations

import os

VARIABLE = "CLSUITE_FAST_PATHS"


def fast_paths() -> bool:
    """Whether shortcuts are taken in this process: they are, unless ``CLSUITE_FAST_PATHS`` is ``0``."""
    return os.environ.get(VARIABLE, "1") != "0"
