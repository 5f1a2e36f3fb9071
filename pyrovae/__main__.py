"""`python -m pyrovae`: the command line."""

import sys

from pyrovae.interrupts import starting

__all__ = ["run"]


def run() -> int:
    """Run the command of this process; Ctrl-C is answered from the first import on."""
    starting()
    from pyrovae.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(run())
