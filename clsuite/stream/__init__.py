"""The stream loop: a fresh trainer per task, one evaluation pass after each, a checkpoint at each boundary."""
