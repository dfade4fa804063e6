"""Decoding of a manifest into a table on disk, in several processes; it continues after an interruption."""

from clsuite.data.decoding.job import Job
from clsuite.data.decoding.pool import DecoderKilledError, decode_all

__all__ = ["DecoderKilledError", "Job", "decode_all"]
