"""User input in YAML and on the command line: read, checked, and explained in plain words if it is wrong."""
