"""What people write, in YAML and on the command line: read, checked, and explained in plain words where it is wrong."""
