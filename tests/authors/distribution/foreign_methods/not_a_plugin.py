"""A class that is no method."""

from lightning import Callback


class NotAPlugin(Callback):
    """Derives from the wrong base."""
