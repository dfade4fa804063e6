"""A module that ends whoever imports it."""

import os

from clsuite.plugin import Plugin

os._exit(3)


class Ends(Plugin):
    """Is never reached."""
