"""Keep what native code writes to standard error off the user's screen; its errors are raised as exceptions anyway."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)


@contextmanager
def native_log() -> Iterator[None]:
    """Redirect file descriptor 2 to the log for the duration of the context."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        screen = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(screen, 2)
            os.close(screen)
            file.seek(0)
            log.debug("%s", file.read().decode(errors="replace"))
