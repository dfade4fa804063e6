"""A method that needs what is not installed."""

import a_package_that_is_nowhere

from clsuite.plugin import Plugin


class NeedsAbsent(Plugin):
    """Needs it at once."""

    absent = a_package_that_is_nowhere
