"""Backbones: pre-trained vision models, their weights and their features."""
