"""``python -m xzoo.cli``: the command line where the script is not on the path."""

import sys

from xzoo.cli import main

sys.exit(main())
