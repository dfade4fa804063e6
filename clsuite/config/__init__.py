"""What people write, in YAML and on the command line: read, checked, and told in plain words where it cannot be."""
