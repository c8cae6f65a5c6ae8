"""``python -m xzoo``: the command line, for launchers that take a module."""

import sys

from xzoo.cli import main

if __name__ == "__main__":
    sys.exit(main())
