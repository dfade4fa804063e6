"""Tests of devices that are made in Python, which not every version of PyTorch can do."""

from __future__ import annotations

import pytest
from torch.utils import backend_registration

MAKER = "_setup_privateuseone_for_python_backend"
"""What makes them; PyTorch 2.9 has none yet."""
needs_python_devices = pytest.mark.skipif(
    not hasattr(backend_registration, MAKER), reason="only newer versions of PyTorch can make a device in Python"
)
