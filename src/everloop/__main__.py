"""``python -m everloop`` is the command `everloop`."""

import sys

from everloop.cli.main import main

sys.exit(main())
