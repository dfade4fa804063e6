"""The conformance suite: what every plugin must keep to, as small checks that explain what they find.

`check_method` is imported on first use, because it needs torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clsuite.conformance.finding import Finding, Outcome, Report

if TYPE_CHECKING:
    from clsuite.conformance.suite import check_method

__all__ = ["Finding", "Outcome", "Report", "check_method"]


def __getattr__(name: str) -> Any:
    if name == "check_method":
        from clsuite.conformance.suite import check_method

        return check_method
    raise AttributeError(f"module 'clsuite.conformance' has no attribute '{name}'")
