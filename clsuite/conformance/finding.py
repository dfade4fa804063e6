"""What the conformance suite finds. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Something that a plugin does wrong.

    Attributes:
        check: Name of the check that found it.
        message: What is wrong, in plain words.
        fix: What to do about it.
        file: Name of the plugin's file, without folders; empty where it is not known.
        line: Line of the plugin's file; 0 where there is none.
        code: Text of that line.
        certain: False where it may be but a consequence of another finding: it is then reported only alone.
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
    """How one check went.

    Attributes:
        check: Its name.
        title: What it checks, as a sentence about a plugin that keeps to it.
        findings: What it found; none where the plugin keeps to it.
        skipped: Why it was not made, where it was not.
    """

    check: str
    title: str
    findings: tuple[Finding, ...] = ()
    skipped: str = ""


@dataclass(frozen=True)
class Report:
    """The outcomes of all checks of a method, in order, and how long they took."""

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
