"""`python -m lash`: the same as the `lash` command."""

import sys

from lash.cli import main

if __name__ == "__main__":
    sys.exit(main())
