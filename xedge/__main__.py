"""``python -m xedge``."""

import sys

from xedge.cli.main import main

sys.exit(main())
