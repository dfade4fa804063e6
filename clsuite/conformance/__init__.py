"""The conformance suite: small checks of the requirements on all plugins, which explain their findings.

`check_method` is imported on first use, because it needs torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clsuite.conformance.finding import Finding, Outcome, Report
from clsuite.lazy import imported_on_use

if TYPE_CHECKING:
    from clsuite.conformance.suite import check_method

__all__ = ["Finding", "Outcome", "Report", "check_method"]


__getattr__ = imported_on_use(__name__, {"check_method": "clsuite.conformance.suite"})
