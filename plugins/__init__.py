"""The reference methods, one file each, found through the entry-point group ``clsuite.plugins``."""
