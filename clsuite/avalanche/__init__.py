"""Runs Avalanche's strategies as methods; imported only when a method is one (`clsuite.plugin.strategies`)."""
