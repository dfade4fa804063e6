"""Findings of the conformance suite. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A mistake of a plugin.

    Attributes:
        check: Name of the check that found it.
        message: The mistake, in plain words.
        fix: How to fix it.
        file: Name of the plugin's file, without folders; empty if it is not known.
        line: Line of the plugin's file; 0 if there is none.
        code: Text of that line.
        certain: False if it may be a consequence of another finding; it is then reported only without others.
    """

    check: str
    message: str
    fix: str
    file: str = ""
    line: int = 0
    code: str = ""
    certain: bool = True

    def __str__(self) -> str:
        place = f" ({self.file}:{self.line}: {self.code})" if self.line else ""
        return f"{self.check}: {self.message}{place}. Fix: {self.fix}"


@dataclass(frozen=True)
class Outcome:
    """The outcome of one check.

    Attributes:
        check: Its name.
        title: What it checks, as a sentence about a plugin that passes.
        findings: Its findings; none if the plugin passes.
        skipped: Why it was skipped; empty if it was not.
    """

    check: str
    title: str
    findings: tuple[Finding, ...] = ()
    skipped: str = ""


@dataclass(frozen=True)
class Report:
    """The outcomes of all checks of a method, in order, and their duration."""

    method: str
    outcomes: tuple[Outcome, ...]
    seconds: float = 0.0

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, in order."""
        return tuple(finding for outcome in self.outcomes for finding in outcome.findings)

    def of(self, check: str) -> Outcome:
        """The outcome of one check."""
        return next(outcome for outcome in self.outcomes if outcome.check == check)
