"""One switch for all optimizations that depend on internals of other libraries: ``CLSUITE_FAST_PATHS=0`` disables them.

They are: computing the last block of a ViT for its class token only (``backbones/class_token.py``), matrix products
instead of kernels that are slow in bfloat16 on a CPU (``backbones/slow_kernels.py``), and reusing the memory of batches
(``data/buffer_pool.py``). The mathematics are the same with and without them. The first two add floating-point numbers
in another order, so that the last bits may differ, as between two processors; the third changes no bit.

The switch is therefore not part of a run's key, as the processor is not. A record's environment states if it was off
(``fast_paths: false``), and a rerun with the other setting is compared with the tolerances for another machine.
"""

from __future__ import annotations

import os

VARIABLE = "CLSUITE_FAST_PATHS"


def fast_paths() -> bool:
    """Whether these optimizations are enabled in this process: they are unless ``CLSUITE_FAST_PATHS`` is ``0``."""
    return os.environ.get(VARIABLE, "1") != "0"
