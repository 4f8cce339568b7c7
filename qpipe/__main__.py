"""`python -m qpipe`."""

import sys

from qpipe.cli import main

sys.exit(main())
