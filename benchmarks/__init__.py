"""Benchmark specifications that come with clsuite."""
