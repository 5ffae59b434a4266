"""``python -m xedge``."""

import sys

from xedge.cli.main import program

sys.exit(program())
