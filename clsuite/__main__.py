"""``python -m clsuite`` runs the command line."""

import sys

from clsuite.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
