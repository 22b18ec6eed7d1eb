"""``python -m taesr``: the command line."""

import sys

from taesr.cli import main

if __name__ == "__main__":
    sys.exit(main())
