"""The Python API for notebooks and scripts, above everything but the command line. Importing it needs no torch."""
