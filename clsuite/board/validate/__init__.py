"""The checks that a record must pass before it is published, a module for each part of it."""
