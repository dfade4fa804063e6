"""Hyperparameter search on the validation parts of a stream's first tasks, never on a test part."""
