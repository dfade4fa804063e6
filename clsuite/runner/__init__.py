"""The runner: from a benchmark to records, one process per run. Only `worker` and what it imports need torch."""
