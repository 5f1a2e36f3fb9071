"""`python -m pyrovae`: the command line."""

import sys

from pyrovae.cli import main

if __name__ == "__main__":
    sys.exit(main())
