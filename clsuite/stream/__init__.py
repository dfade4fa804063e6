"""The stream loop: each task has a new trainer, one evaluation pass after it, and a checkpoint at its end."""
