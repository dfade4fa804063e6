"""A method for a later version of the plugin API."""

from clsuite.plugin import Plugin, Traits


class TooNew(Plugin):
    """Says something that this version does not know."""

    api = 99
    traits = Traits(invented=True)
