"""A class that is not a method."""

from lightning import Callback


class NotAPlugin(Callback):
    """Derives from the wrong base."""
