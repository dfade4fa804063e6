"""The audit of a submission: cheap checks of all records, then a sample of tasks that are learned again."""
