"""Retention probes: what a stream leaves of what the backbone knew before it. Independent of any method."""
