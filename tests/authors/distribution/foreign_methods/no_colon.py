"""A method with a syntax error."""

from clsuite.plugin import Plugin


class NoColon(Plugin)
    """It lacks a colon."""
