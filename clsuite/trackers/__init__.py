"""Trackers: CSV files, TensorBoard, Weights & Biases and MLflow receive what runs measure, and influence nothing.

A run appends what it measures to its journal, a file beside its record. Another process hands the journal to
Lightning's loggers, so that a tracker's memory, its threads, its random draws and its failures are not the run's.
"""
