"""A method whose own package needs what is not installed."""

from clsuite.plugin import Plugin
from foreign_methods.needs_absent import NeedsAbsent


class NeedsAbsentLate(Plugin):
    """Needs it through another module."""

    other = NeedsAbsent
